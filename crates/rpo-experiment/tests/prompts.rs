//! `[prompts]`: lists by name and from files, in the plan and in what a run means.

use rpo_experiment::plan::{Plan, Purpose};
use rpo_experiment::{built_in, read};
use std::path::Path;

/// A folder with an experiment and other files.
struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn plan(&self, text: &str) -> anyhow::Result<Plan> {
        self.write("x.toml", text);
        let (experiment, layers) = read(&self.0.path().join("x.toml"), &[], &[])?;
        Plan::of(experiment, &layers)
    }

    fn said(&self, text: &str) -> String {
        let error = self.plan(text).expect_err(text);
        let bad = error
            .chain()
            .any(|e| e.is::<rpo_files::failure::BadInput>());
        assert!(bad, "{error:#}");
        format!("{error:#}")
    }
}

const ONE: &str = "[subjects]\nnames = [\"dog\"]\n";

/// Runs are found again by these.
#[test]
fn experiments_of_before_mean_the_same_bit_for_bit() {
    let mut hasher = blake3::Hasher::new();
    let later = ["table1", "fewer_negatives", "sd15_table1"];
    let before = built_in::EXPERIMENTS.iter();
    for experiment in before.filter(|e| !later.contains(&e.name)) {
        let name = format!("experiments/{}", experiment.name);
        let (experiment, _) = read(Path::new(&name), &[], &[]).unwrap();
        let meaning = toml::to_string_pretty(&experiment.meaning()).unwrap();
        hasher.update(meaning.as_bytes());
    }
    assert_eq!(
        &hasher.finalize().to_hex()[..32],
        "2215c54da1196277a4c200859a302803"
    );
}

#[test]
fn lists_are_files_or_names() {
    let files = Files::new(&[
        (
            "lists/test.txt",
            "[view]\na {} from above\n\na {} from below\n",
        ),
        (
            "test.jsonl",
            "{\"prompt\": \"a {} asleep\", \"live\": true}\n{\"prompt\": \"a broken {}\", \"live\": false}\n{\"prompt\": \"a {}\", \"kind\": \"plain\"}\n",
        ),
    ]);
    let of = |keys: &str| {
        let plan = files.plan(&format!("{ONE}[prompts]\n{keys}")).unwrap();
        let cell = &plan.cells[0];
        let kinds = plan.kinds(cell, Purpose::Test);
        let kinds = kinds.into_iter().map(|k| k.unwrap_or("-").to_owned());
        let texts = plan.prompts(cell, Purpose::Test).into_iter();
        texts.zip(kinds).collect::<Vec<_>>()
    };
    let pairs = |all: &[(&str, &str)]| -> Vec<(String, String)> {
        let own = |&(a, b): &(&str, &str)| (a.to_owned(), b.to_owned());
        all.iter().map(own).collect()
    };
    assert_eq!(
        of("test = \"lists/test.txt\"\n"),
        pairs(&[
            ("a [v] dog from above", "view"),
            ("a [v] dog from below", "view")
        ])
    );
    assert_eq!(
        of("test = \"test.jsonl\"\n"),
        pairs(&[("a [v] dog asleep", "-"), ("a [v] dog", "plain")])
    );
    let own =
        of("train = \"dreambench\"\nvalidation = \"dreambench\"\ntest = \"dreambench-test\"\n");
    assert_eq!(own.len(), 25);
    assert_eq!(
        own[10],
        pairs(&[("a [v] dog wearing a red hat", "accessory")])[0]
    );
    assert_eq!(of("test = \"stickerbench\"\n"), of(""));
    // The numbers of [test] cut prompts and kinds.
    assert_eq!(of("[test]\nprompts = 3\n").len(), 3);
}

#[test]
fn kinds_are_those_of_the_prompts_that_are_drawn() {
    let files = Files::new(&[]);
    let plan = files
        .plan(&format!(
            "{ONE}[validation]\nprompts = 3\n[[arm]]\nname = \"a\"\n[[arm]]\nname = \"b\"\nrecipe = {{ validation_prompts = \"training\" }}\n"
        ))
        .unwrap();
    for cell in &plan.cells {
        for purpose in [
            Purpose::Negatives,
            Purpose::Validation,
            Purpose::Test,
            Purpose::Class,
        ] {
            let kinds = plan.kinds(cell, purpose);
            assert_eq!(kinds.len(), plan.templates(cell, purpose).len());
            assert!(kinds.iter().all(Option::is_some));
        }
    }
    // As in the plans of before.
    let mut old = serde_json::to_value(&plan).unwrap();
    let prompts = old["subjects"][0]["prompts"].as_object_mut().unwrap();
    assert!(prompts.remove("kinds").is_some());
    let old: Plan = serde_json::from_value(old).unwrap();
    old.check().unwrap();
    assert_eq!(old.kinds(&old.cells[0], Purpose::Test), [None; 17]);
}

#[test]
fn the_text_of_a_file_is_meant_and_its_path_is_not() {
    let files = Files::new(&[
        ("a.txt", "[style]\na {} in oil\n"),
        ("b/other.txt", "# another\n[view]\na {} in oil\n"),
        ("c.txt", "a {} in ink\n"),
    ]);
    let of = |keys: &str| {
        let plan = files.plan(&format!("{ONE}[prompts]\n{keys}")).unwrap();
        (plan.experiment.meaning(), plan.own_prompts())
    };
    let (a, b, c) = (
        of("test = \"a.txt\""),
        of("test = \"b/other.txt\""),
        of("test = \"c.txt\""),
    );
    assert_eq!(a, b, "neither path nor kinds change a picture");
    assert_eq!(a.0, c.0);
    assert_ne!(a.1, c.1);
    assert!(a.1.is_some_and(|text| text.contains("a {} in oil")));
    // What the source implies may be named.
    let named = of("test = \"stickerbench-test\"\ntrain = \"stickerbench\"");
    assert_eq!(named, of(""));
    assert_eq!(named.1, None);
    let other = of("train = \"dreambench\"");
    assert!(other.1.is_some());
    assert_ne!(other.0, named.0);
    assert_eq!(other.0, other.0.meaning());
}

#[test]
fn a_test_prompt_is_seen_by_neither_training_nor_choice() {
    let files = Files::new(&[
        ("train.txt", "a {} in a box\n"),
        (
            "test.txt",
            "a {} in oil\n# the same\nA {token} {class}  in a box\n",
        ),
        ("choice.txt", "a {} in oil\n"),
    ]);
    let with = |keys: &str| files.said(&format!("{ONE}[prompts]\n{keys}"));
    let said = with("train = \"train.txt\"\ntest = \"test.txt\"\n");
    for word in [
        "x.toml:5: `prompts.test`",
        "a {token} {class} in a box",
        "test.txt:3)",
        "train.txt:1)",
        "hint: ",
    ] {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
    let said = with("validation = \"choice.txt\"\ntest = \"test.txt\"\n");
    assert!(said.contains("choice.txt:1)"), "{said}");
    let said = with("train = \"train.txt\"\nvalidation = \"train.txt\"\n");
    assert!(
        said.contains("`prompts.validation`") && said.contains("validation_prompts"),
        "{said}"
    );
    // Lists of two benchmarks meet.
    let said = with("test = \"dreambench\"\n");
    assert!(said.contains("stickerbench-train:1)"), "{said}");
    // Validation prompts that no arm uses do not count.
    files
        .plan(&format!(
            "{ONE}[recipe]\nvalidation_prompts = \"training\"\n[prompts]\nvalidation = \"choice.txt\"\ntest = \"choice.txt\"\n"
        ))
        .unwrap();
    // Nor do prompts for the others.
    files.write(
        "live.jsonl",
        "{\"prompt\": \"a {} in oil\", \"live\": true}\n",
    );
    files.write(
        "mixed.jsonl",
        "{\"prompt\": \"a {} in oil\", \"live\": false}\n{\"prompt\": \"a {} in ink\"}\n",
    );
    let keys = "[prompts]\ntrain = \"live.jsonl\"\ntest = \"mixed.jsonl\"\n";
    files.plan(&format!("{ONE}{keys}")).unwrap();
    let said = files.said(&format!("[subjects]\nnames = [\"dog\", \"car\"]\n{keys}"));
    assert!(
        said.contains("no prompt for objects") && said.contains("`car`"),
        "{said}"
    );
}

#[test]
fn what_is_no_list_is_named() {
    let files = Files::new(&[
        ("bad.txt", "a {} in oil\na dog in oil\n"),
        ("twice.txt", "a {}\na {token} {class}\n"),
        ("empty.txt", "# nothing\n"),
        ("bad.jsonl", "{\"prompt\": \"a {}\", \"kidn\": \"view\"}\n"),
    ]);
    for (keys, words) in [
        (
            "test = \"dreambnch\"",
            ["`prompts.test`", "did you mean `dreambench`?"],
        ),
        (
            "test = \"gone/zzz.txt\"",
            ["gone/zzz.txt", "neither a file"],
        ),
        ("test = \"bad.txt\"", ["bad.txt:2: ", "\"a dog in oil\""]),
        ("train = \"twice.txt\"", ["twice.txt:2: ", "line 1"]),
        ("test = \"empty.txt\"", ["empty.txt", "no prompt"]),
        (
            "test = \"bad.jsonl\"",
            ["bad.jsonl:1: ", "did you mean `kind`?"],
        ),
        (
            "test = \"~/mine.txt\"",
            ["`prompts.test`", "only a shell expands ~"],
        ),
        ("tset = \"a\"", ["x.toml:4: ", "did you mean `test`?"]),
        ("test = 3", ["x.toml:4: ", "string"]),
        ("test = \".\"", ["`prompts.test`", "no text file"]),
    ] {
        let said = files.said(&format!("{ONE}[prompts]\n{keys}\n"));
        for word in words {
            assert!(said.contains(word), "{keys}: no `{word}` in: {said}");
        }
    }
}

#[test]
fn the_prompts_of_all_subjects_are_bounded() {
    let line = |i: usize| format!("a {{}} {i} {}\n", "x".repeat(350));
    let text: String = (0..9000).map(line).collect();
    let files = Files::new(&[("long.txt", &text)]);
    let said = files.said("[subjects]\ncount = 30\n[prompts]\ntest = \"long.txt\"\n");
    assert!(
        said.contains("`prompts.test`") && said.contains("67108864"),
        "{said}"
    );
}
