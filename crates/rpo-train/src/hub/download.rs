//! Fetching from the hub into its cache, in the layout that the Python package writes and reads too.

use super::{Environment, Kind, Repository, wanted};
use hf_hub::api::sync::ApiBuilder;
use hf_hub::{Repo, RepoType};

/// Downloads the files that `kind` needs and are not there yet; returns the commit.
///
/// # Errors
/// What the hub, or the connection to it, said; with the file it was about.
pub(super) fn fetch(
    repository: &Repository,
    kind: Kind,
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
    // Asked at the name of the revision, so that the cache learns which commit it is.
    let repo = at(&repository.revision);
    let info = repo
        .info()
        .map_err(|e| format!("the hub, asked for the files of {repository}: {e}"))?;
    let files: Vec<String> = info.siblings.into_iter().map(|s| s.rfilename).collect();
    let wanted = wanted(&files, kind, variant);
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
