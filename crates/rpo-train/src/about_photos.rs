//! What is told about photos and captions, by `check` and in a run's first lines.

use crate::runner::class_folders::{ClassPicture, GivenClass};
use rpo_data::picture::Seen;
use rpo_data::subject::{Reference, Subject, some};
use rpo_experiment::SubjectSource;
use rpo_experiment::plan::{Plan, class_pictures};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// Up to this many subjects, photos are listed per subject.
const SHOWN: usize = 4;

/// A photo whose sides differ more is mostly cropped away.
const LONG: f64 = 2.0;

/// Photos and captions of each subject; summed over all if there are many.
pub fn counts(subjects: &[Subject]) -> Vec<String> {
    let of = |subjects: &[Subject]| {
        let all = || subjects.iter().flat_map(|s| &s.references);
        let sides = all().map(|r| r.picture.dimensions());
        let area = |(w, h): &(u32, u32)| u64::from(*w) * u64::from(*h);
        let (least, most) = (sides.clone().min_by_key(area), sides.max_by_key(area));
        let sizes = match (least, most) {
            (Some(a), Some(b)) if a == b => format!(" of {} x {}", a.0, a.1),
            (Some(a), Some(b)) => format!(" of {} x {} to {} x {}", a.0, a.1, b.0, b.1),
            _ => String::new(),
        };
        let captions = all().filter(|r| r.caption.is_some()).count();
        format!("{} photos{sizes}, {captions} with a caption", all().count())
    };
    if subjects.len() > SHOWN {
        return vec![of(subjects)];
    }
    let line = |s: &Subject| {
        let found = of(std::slice::from_ref(s));
        format!(
            "{}: {found}; prompts say \"{} {}\"",
            s.name, s.token, s.class
        )
    };
    subjects.iter().map(line).collect()
}

/// What is noteworthy about a plan's photos, a sentence each; `size` is the side of the model's pictures.
pub fn remarks(plan: &Plan, subjects: &[Subject], size: u32) -> Vec<String> {
    let keys = &plan.experiment.subjects;
    let one = plan.experiment.own_subjects.is_empty();
    let masked = plan.arms.iter().any(|arm| arm.recipe.masked);
    let mut found = Vec::new();
    if let (SubjectSource::Folder, None, [subject]) = (keys.source, keys.live, subjects)
        && one
    {
        let kind = match subject.live {
            true => "living subjects",
            false => "objects",
        };
        found.push(format!(
            "prompts are those for {kind}, by the class \"{}\" (`subjects.live` overrides this)",
            subject.class
        ));
    }
    for subject in subjects {
        let before = match subjects.len() {
            1 => String::new(),
            _ => format!("{}: ", subject.name),
        };
        let photos: Vec<Noted> = subject.references.iter().map(Noted::from).collect();
        let all = of_pictures(&photos, size)
            .into_iter()
            .chain(subject.notes.clone());
        found.extend(all.map(|text| format!("{before}{text}")));
        if masked && keys.source != SubjectSource::Stickerbench {
            let masks = subject.references.iter().map(|r| (r, r.mask.as_ref()));
            let own = masks.filter(|(r, mask)| mask.is_some_and(|mask| mask.file != r.file));
            let (own, all) = (own.count(), subject.references.len());
            found.push(format!(
                "{before}{own} masks are files beside the photos, {} the photos' transparency",
                all - own
            ));
        }
        if !subject.passed_over.is_empty() {
            let names = some(&subject.passed_over, subject.passed_over.len());
            found.push(format!("{before}passed over: {names}"));
        }
    }
    found
}

/// Lines about the given pictures of classes, a folder once: how many there are and are used, and what is noteworthy about them.
pub fn of_classes(plan: &Plan, classes: &[Option<GivenClass>], size: u32) -> Vec<String> {
    let asked = plan.arms.iter().map(|arm| class_pictures(&arm.recipe));
    let most = asked.max().unwrap_or(0);
    let (mut lines, mut told) = (Vec::new(), BTreeSet::<&Path>::new());
    for (given, subject) in classes.iter().zip(&plan.subjects) {
        let Some(given) = given.as_ref().filter(|given| told.insert(&given.path)) else {
            continue;
        };
        let captions = given.pictures.iter().filter(|p| p.caption.is_some());
        let class = &subject.class;
        lines.push(format!(
            "{class}: {} pictures given, the first {} used (recipe.class_pictures {most}), {} of them with a caption",
            given.count,
            given.pictures.len(),
            captions.count()
        ));
        let pictures: Vec<Noted> = given.pictures.iter().map(Noted::from).collect();
        let all = of_pictures(&pictures, size)
            .into_iter()
            .chain(given.notes.clone());
        lines.extend(all.map(|text| format!("{class}: {text}")));
        if !given.passed_over.is_empty() {
            let names = some(&given.passed_over, given.passed_over.len());
            lines.push(format!("{class}: passed over: {names}"));
        }
    }
    lines
}

/// What can be told of a picture without its pixels.
struct Noted<'a> {
    file: &'a str,
    sides: (u32, u32),
    seen: &'a Seen,
    hash: blake3::Hash,
}

impl<'a> From<&'a ClassPicture> for Noted<'a> {
    fn from(picture: &'a ClassPicture) -> Self {
        Self {
            file: &picture.file,
            sides: picture.sides,
            seen: &picture.seen,
            hash: picture.hash,
        }
    }
}

impl<'a> From<&'a Reference> for Noted<'a> {
    fn from(reference: &'a Reference) -> Self {
        Self {
            file: &reference.file,
            sides: reference.picture.dimensions(),
            seen: &reference.seen,
            hash: blake3::hash(reference.picture.as_raw()),
        }
    }
}

fn of_pictures(pictures: &[Noted], size: u32) -> Vec<String> {
    let mut found = Vec::new();
    let mut tell = |meaning: &str, is: &dyn Fn(&Noted) -> bool| {
        let names = pictures.iter().filter(|r| is(r));
        let names: Vec<String> = names.map(|r| r.file.to_owned()).collect();
        if !names.is_empty() {
            let count = names.len();
            found.push(format!("{count} {meaning}: {}", some(&names, count)));
        }
    };
    tell("turned as EXIF or XMP says", &|r| r.seen.turned);
    tell(
        "transparent, of which the colours below the transparency are used",
        &|r| r.seen.transparent,
    );
    tell("animated, of which the first picture is used", &|r| {
        r.seen.animated
    });
    tell(
        "with a colour profile other than sRGB, which is not applied",
        &|r| r.seen.profile.is_some(),
    );
    let sides = |r: &Noted| {
        let (width, height) = r.sides;
        (width.min(height), width.max(height))
    };
    tell(
        &format!("smaller than the model's {size} px, enlarged"),
        &|r| sides(r).0 < size,
    );
    tell(
        "more than twice as long as wide, cropped to a square",
        &|r| {
            let (short, long) = sides(r);
            f64::from(long) > LONG * f64::from(short)
        },
    );
    let mut first = HashMap::new();
    for picture in pictures {
        if let Some(same) = first.insert((picture.sides, picture.hash), picture.file) {
            found.push(format!("{} and {same} have the same pixels", picture.file));
        }
    }
    found
}
