//! A page of headings, texts and tables, written as HTML without other files, or as Markdown.

const STYLE: &str = "\
:root { color-scheme: light dark; --line: #d8d8d8; --soft: #666; --page: #fdfdfc; --ink: #1c1c1c }
@media (prefers-color-scheme: dark) {
  :root { --line: #3a3a3a; --soft: #a0a0a0; --page: #161616; --ink: #e6e6e6 }
}
body { background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
h1 { font-size: 1.6rem; font-weight: 600 }
h2 { font-size: 1.1rem; font-weight: 600; margin-top: 2.2rem }
pre { border: 1px solid var(--line); border-radius: 4px; overflow-x: auto; padding: .6rem .8rem }
div { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100% }
th { color: var(--soft); font-weight: 500; text-align: left }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; vertical-align: top }
td.number { text-align: right }
";

/// A part of a page.
pub(super) enum Block {
    Title(String),
    Heading(String),
    Text(String),
    Code(String),
    Table { head: Vec<String>, rows: Vec<Vec<String>> },
}

impl Block {
    pub(super) fn title(text: &str) -> Self {
        Self::Title(text.to_owned())
    }

    pub(super) fn heading(text: &str) -> Self {
        Self::Heading(text.to_owned())
    }

    pub(super) fn text(text: String) -> Self {
        Self::Text(text)
    }

    pub(super) fn code(text: &str) -> Self {
        Self::Code(text.to_owned())
    }

    pub(super) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Self {
        let head = head.iter().map(|cell| (*cell).to_owned()).collect();
        Self::Table { head, rows: rows.into_iter().collect() }
    }
}

pub(super) fn html(blocks: &[Block]) -> String {
    let mut page = String::from("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n");
    page += "<meta name=\"viewport\" content=\"width=device-width\">\n";
    let title = blocks.iter().find_map(|block| match block {
        Block::Title(text) => Some(text.as_str()),
        _ => None,
    });
    page += &format!("<title>{}</title>\n", escape(title.unwrap_or_default()));
    page += &format!("<style>\n{STYLE}</style>\n");
    for block in blocks {
        page += &match block {
            Block::Title(text) => format!("<h1>{}</h1>\n", escape(text)),
            Block::Heading(text) => format!("<h2>{}</h2>\n", escape(text)),
            Block::Text(text) => format!("<p>{}</p>\n", escape(text)),
            Block::Code(text) => format!("<pre>{}</pre>\n", escape(text)),
            Block::Table { head, rows } => html_table(head, rows),
        };
    }
    page
}

fn html_table(head: &[String], rows: &[Vec<String>]) -> String {
    let mut table = String::from("<div><table>\n<tr>");
    for cell in head {
        table += &format!("<th>{}</th>", escape(cell));
    }
    table += "</tr>\n";
    for row in rows {
        table += "<tr>";
        for cell in row {
            let is_number = cell.starts_with(|first: char| first.is_ascii_digit())
                && cell.chars().all(|char| char.is_ascii_digit() || ",. s".contains(char));
            let class = if is_number { " class=\"number\"" } else { "" };
            table += &format!("<td{class}>{}</td>", escape(cell));
        }
        table += "</tr>\n";
    }
    table + "</table></div>\n"
}

pub(super) fn markdown(blocks: &[Block]) -> String {
    let mut page = String::new();
    for block in blocks {
        page += &match block {
            Block::Title(text) => format!("# {text}\n\n"),
            Block::Heading(text) => format!("## {text}\n\n"),
            Block::Text(text) => format!("{text}\n\n"),
            Block::Code(text) => format!("```console\n{text}\n```\n\n"),
            Block::Table { head, rows } => {
                let line = |cells: &[String]| {
                    let cells: Vec<String> =
                        cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
                    format!("| {} |\n", cells.join(" | "))
                };
                let rule: Vec<String> = head.iter().map(|_| "---".to_owned()).collect();
                let rows: String = rows.iter().map(|row| line(row)).collect();
                format!("{}{}{rows}\n", line(head), line(&rule))
            }
        };
    }
    page
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_escaped_in_both_forms() {
        let blocks = [Block::table(&["a"], [vec!["<b>|x".to_owned()]])];
        assert!(html(&blocks).contains("<td>&lt;b&gt;|x</td>"), "{}", html(&blocks));
        assert_eq!(markdown(&blocks), "| a |\n| --- |\n| <b>\\|x |\n\n");
    }
}
