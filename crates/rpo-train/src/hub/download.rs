//! Downloads from the hub into its cache, in the layout of the Python package.

use super::{Content, Environment, Repository, wanted};
use hf_hub::api::sync::ApiBuilder;
use hf_hub::{Repo, RepoType};

/// Downloads the missing ones of the files that `content` needs; returns the commit.
///
/// # Errors
/// Errors of the hub or the connection, with the file concerned.
pub(super) fn fetch(
    repository: &Repository,
    content: Content,
    variant: Option<&str>,
    environment: &Environment,
) -> Result<String, String> {
    let mut builder = ApiBuilder::new()
        .with_cache_dir(environment.cache.clone())
        .with_token(environment.token.clone())
        .with_retries(2);
    if let Some(endpoint) = &environment.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    let api = builder.build().map_err(|e| format!("the hub: {e}"))?;
    let at = |revision: &str| {
        let (name, revision) = (repository.name.clone(), revision.to_owned());
        api.repo(Repo::with_revision(name, RepoType::Model, revision))
    };
    // Requested by the name of the revision, so that the cache records its commit.
    let repo = at(&repository.revision);
    let info = repo
        .info()
        .map_err(|e| format!("the hub, asked for the files of {repository}: {e}"))?;
    let files: Vec<String> = info.siblings.into_iter().map(|s| s.rfilename).collect();
    let wanted = wanted(&files, content, variant);
    if wanted.is_empty() {
        return Err(format!(
            "the hub has no file in {repository} that could be used here"
        ));
    }
    for file in &wanted {
        repo.get(file)
            .map_err(|e| format!("the hub, asked for {file} of {repository}: {e}"))?;
    }
    Ok(info.sha)
}
