//! How the program ends: closed outputs, full ones, odd arguments, little address space, signals.
#![cfg(unix)]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_rpo-train"))
}

/// The output of a shell's command in which `"$0"` is the program.
fn shell(script: &str) -> Output {
    let output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_rpo-train")])
        .output();
    output.expect("a shell")
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !text.contains("panicked") && !text.contains("internal error"),
        "{text}"
    );
    text.into_owned()
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    for verb in ["schema", "experiments", "plan quickstart", "--help"] {
        let script = format!("{{ \"$0\" {verb}; echo $? >&2; }} | true");
        assert_eq!(said(&shell(&script)), "0\n", "{verb}");
        let closed = shell(&format!("\"$0\" {verb} >&-"));
        assert_eq!(
            (closed.status.code(), said(&closed)),
            (Some(0), String::new()),
            "{verb}"
        );
        let unread = shell(&format!("\"$0\" {verb} 2>&- >/dev/null"));
        assert_eq!(unread.status.code(), Some(0), "{verb}");
    }
}

#[test]
fn a_full_disk_under_standard_output_is_an_error() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    for verb in ["schema", "plan quickstart"] {
        let output = shell(&format!("\"$0\" {verb} >/dev/full"));
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.contains("standard output: cannot be written"),
            "{text}"
        );
    }
    // Nobody can be told.
    let output = shell("\"$0\" nothing 2>/dev/full");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn arguments_need_not_be_text() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(OsStr::from_bytes(b"dog-\xff.toml"));
    fs::write(&file, "[subjects]\ncount = 1\n").unwrap();
    let output = program().arg("plan").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let odd = OsStr::from_bytes(b"\xff");
    let to = folder.path().join(odd);
    let output = program()
        .arg("plan")
        .arg(&file)
        .arg("--out")
        .arg(&to)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(to.is_file());
    for args in [
        &[odd][..],
        &[OsStr::new("report"), odd],
        &[
            OsStr::new("plan"),
            OsStr::new("quickstart"),
            OsStr::new("--set"),
            odd,
        ],
    ] {
        let output = program().args(args).output().unwrap();
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.starts_with("error: "), "{text}");
    }
}

#[test]
fn the_fitting_verb_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("dog.jpg");
    fs::write(&picture, "").unwrap();
    let picture = picture.display().to_string();
    for (args, words) in [
        (vec!["reprot", "x"], "did you mean `rpo-train report`?"),
        (vec![&*picture], "subjects.path=FOLDER"),
        (vec!["report", &*picture], "a run folder is asked for"),
        (vec!["generate", "no/such/run"], "has no no"),
        (vec![], "a verb is missing"),
        (vec!["generate", "x", "-n", "0"], "-n"),
    ] {
        let output = program().args(&args).output().unwrap();
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        assert!(text.contains(words), "{args:?}: no `{words}` in: {text}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn little_address_space_is_enough_or_told() {
    for (kilobytes, codes) in [(2_000_000, &[Some(0)][..]), (200_000, &[Some(0), Some(1)])] {
        let output = shell(&format!("ulimit -v {kilobytes}; \"$0\" doctor"));
        let text = said(&output);
        assert!(
            codes.contains(&output.status.code()),
            "{kilobytes}: {:?} {text}",
            output.status
        );
        assert!(output.status.success() || !text.is_empty());
    }
}

/// A run of 20 steps in `out`, which has its own cache.
fn start(out: &Path) -> Child {
    let sets = [
        "subjects.count=1",
        "training.steps=20",
        "validation.every=20",
        "rules.patience=0",
        "training.save_minutes=0",
    ];
    let output = format!(
        "output=\"{}\"",
        out.parent().unwrap().join("cache").display()
    );
    program()
        .args(["quickstart", "--with", "smoke", "--set", &output])
        .args(sets.iter().flat_map(|set| ["--set", set]))
        .arg("--out")
        .arg(out)
        .stdout(Stdio::null())
        .stderr(File::create(out.with_extension("said")).unwrap())
        .spawn()
        .unwrap()
}

/// Whether this process, and so its children, ignores a signal, as far as known.
fn is_ignored(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.unwrap_or(0) & (1 << (number - 1)) != 0
}

#[test]
fn a_signal_saves_and_ends_with_75() {
    let folder = tempfile::tempdir().unwrap();
    let record = |out: &Path| out.join("trajectories/ours/lion/seed-0/metrics.jsonl");
    let alone = folder.path().join("alone");
    assert!(start(&alone).wait().unwrap().success());
    for (signal, number) in [("INT", 2), ("TERM", 15), ("HUP", 1), ("USR1", 10)] {
        // A program leaves ignored what was ignored where it was started, as by `nohup`.
        if is_ignored(number) {
            println!("skipped: SIG{signal} is ignored here");
            continue;
        }
        let out = folder.path().join(signal);
        let mut child = start(&out);
        let begin = Instant::now();
        // The scores of step 0 are in the record: it trains.
        while fs::metadata(record(&out)).map_or(0, |about| about.len()) == 0 {
            assert!(begin.elapsed() < Duration::from_secs(300), "it is slow");
            assert!(child.try_wait().unwrap().is_none(), "it ended too early");
            std::thread::sleep(Duration::from_millis(2));
        }
        let id = child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", signal, &id])
                .status()
                .unwrap()
                .success()
        );
        let code = child.wait().unwrap().code();
        let text = fs::read_to_string(out.with_extension("said")).unwrap();
        assert_eq!(code, Some(75), "{signal}: {text}");
        assert!(text.contains("the same command goes on"), "{text}");
        assert!(start(&out).wait().unwrap().success());
        assert!(
            fs::read(record(&out)).unwrap() == fs::read(record(&alone)).unwrap(),
            "{signal}"
        );
    }
}

/// Files below a folder whose names end so.
fn count(folder: &Path, ending: &str) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.path() {
            path if path.is_dir() => count(&path, ending),
            path => usize::from(path.to_string_lossy().ends_with(ending)),
        })
        .sum()
}

#[test]
fn a_signal_within_a_validation_loses_no_step() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let start = |out: &Path| {
        let mut command = program();
        command.args(["quickstart", "--with", "smoke", "--set", "subjects.count=1"]);
        for set in [
            "training.save_minutes=0",
            "validation.pictures_per_prompt=24",
            "sampler.batch=2",
        ] {
            command.args(["--set", set]);
        }
        command
            .arg("--set")
            .arg(format!("output={}", out.display()));
        command.arg("--out").arg(out.join("run"));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let alone = start(&at("alone")).wait_with_output().unwrap();
    assert!(alone.status.success(), "{}", said(&alone));
    let record = "run/trajectories/ours/lion/seed-0/metrics.jsonl";
    // Negatives and step 0, and then some of step 2, whose steps nothing has saved.
    let of_step = 2 * 24;
    // Four of each of two prompts; the rest are validations at three steps and tests of as many as were chosen.
    let negatives = 4 * 2;
    assert!(count(&at("alone/cache"), ".png") > negatives + 3 * of_step);
    let mut child = start(&at("one"));
    let until = Instant::now() + Duration::from_secs(120);
    while count(&at("one/cache"), ".png") < negatives + of_step + 2 {
        assert!(child.try_wait().unwrap().is_none() && Instant::now() < until);
        std::thread::sleep(Duration::from_millis(2));
    }
    for signal in ["-USR1", "-TERM", "-TERM"] {
        let mut kill = Command::new("kill");
        kill.arg(signal).arg(child.id().to_string());
        assert!(kill.status().unwrap().success());
    }
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(75), "{}", said(&ended));
    assert!(said(&ended).contains("lion/seed-0: saved after step 2"));
    let lines = fs::read_to_string(at("one").join(record)).unwrap();
    assert_eq!(lines.lines().count(), 3, "step 0's scores, steps 1 and 2");
    let child = start(&at("one"));
    let ended = child.wait_with_output().unwrap();
    assert!(said(&ended).contains("lion/seed-0: goes on after step 2"));
    let read = |name: &str| fs::read(at(name).join(record)).unwrap();
    assert!(read("one") == read("alone"));
}
