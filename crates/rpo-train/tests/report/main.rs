//! The page: what it holds, what no name can do to it, and that its script selects as the program does.

mod invented;

use rpo_train::report;

#[test]
fn the_page_is_one_file_that_names_cannot_break() {
    let html = report::render(&invented::run()).expect("a page");
    if let Some(path) = std::env::var_os("RPO_REPORT_TO") {
        std::fs::write(path, &html).expect("the page is written");
    }
}
