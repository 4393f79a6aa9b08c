//! Lists of prompts, as `[prompts]` names them.

use crate::case::Case;
use crate::target::{Target, ensure_fault, wrong};
use anyhow::{Context, Result};
use rpo_data::prompts::{Form, MOST_PROMPTS, Prompt, check, fill, parse, read_prompts};

const LINES: &str = "list.txt";
const ROWS: &str = "list.jsonl";

fn seeds() -> Result<Vec<Case>> {
    let lines = "# mine\n[recontext]\na {} in the snow\na {token} {class} on a beach\n\n[property]\na red {}\n";
    let rows = "{\"prompt\": \"a {} asleep\", \"kind\": \"view\", \"live\": true}\n{\"prompt\": \"a {} in oil\", \"kind\": \"style\"}\n{\"prompt\": \"a {token} red {class}\", \"live\": false}\n";
    Ok(vec![
        Case::of(LINES, lines),
        Case::of(LINES, format!("\u{feff}{}", lines.replace('\n', "\r\n"))),
        Case::of(ROWS, rows),
    ])
}

/// The same list, written by this program.
fn rows(list: &[Prompt]) -> String {
    let row =
        |p: &Prompt| serde_json::json!({"prompt": p.template, "kind": p.kind, "live": p.live});
    list.iter().map(|p| format!("{}\n", row(p))).collect()
}

pub(super) const LIST: Target = Target::new(
    "prompt-list",
    "a list of prompts: lines with headings, or JSON rows",
    seeds,
    |folder| {
        let files = [LINES, ROWS].map(|name| folder.join(name));
        let file = files.into_iter().find(|file| file.is_file());
        let list = read_prompts(&file.context("list: gone")?)?;
        ensure_fault((1..=MOST_PROMPTS).contains(&list.len()), || {
            format!("{} prompts", list.len())
        })?;
        for prompt in &list {
            check(&prompt.template).map_err(|e| wrong(format!("it is no template: {e:#}")))?;
            let filled = fill(&prompt.template, None, "dog");
            ensure_fault(!filled.contains(['{', '}']), || format!("{filled:?}"))?;
        }
        let again = parse("again", &rows(&list), Form::Rows)
            .map_err(|e| wrong(format!("written again, it is refused: {e:#}")))?;
        let same = |(a, b): (&Prompt, &Prompt)| {
            (&a.template, &a.kind, a.live) == (&b.template, &b.kind, b.live)
        };
        let equal = again.len() == list.len() && list.iter().zip(&again).all(same);
        ensure_fault(equal, || "written again, it is another list".into())
    },
);
