//! `waybill couriers import`: adds the couriers of a file through the HTTP API of the courier service,
//! all or none. The service checks the values; this tool only reads the lines, and says which line
//! an error is about.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use chassis::http::web_address;
use clap::Args;
use reqwest::StatusCode;
use serde_json::{Map, Value};
use url::Url;

use crate::{
    http::{self, HttpOptions},
    output,
    usage::SEE_LONG_HELP,
};

/// The number of couriers that the service accepts in one request.
const MAX_COURIERS: usize = 10_000;

const EXAMPLES: &str = "\
Examples:
  waybill couriers import couriers.csv
      a CSV file; its first line names the columns:
        name,phone,transport_type,status
        \"Ivanova, Anna\",+79001234567,car,available
  waybill couriers import couriers.jsonl
      a file with one JSON object in each line:
        {\"name\":\"Boris\",\"phone\":\"+79001234568\",\"transport_type\":\"scooter\"}

The ids of the new couriers are printed, one in each line, in the order of the
file. If the file has an error, every error is reported with its line, and no
courier is added.

Exit codes: 0 done, 1 an error in the file, or the service refused the request,
2 wrong command line, 69 the service did not answer for 10 seconds.";

/// Add the couriers of a file, all or none.
///
/// The file is CSV, or has one JSON object in each line (the name ends with .json, .jsonl or .ndjson).
/// The columns and the members are name, phone, transport_type (on_foot, scooter or car) and,
/// optionally, status (available or paused). The tool calls the running courier service.
#[derive(Args)]
#[command(after_help = SEE_LONG_HELP, after_long_help = EXAMPLES)]
pub(crate) struct ImportArgs {
    /// File with at most 10,000 couriers.
    file: PathBuf,
    /// URL of the courier service.
    #[arg(
        long,
        env = "COURIERS_URL",
        default_value = "http://127.0.0.1:8082",
        value_name = "URL",
        value_parser = web_address,
        help_heading = "HTTP"
    )]
    couriers_url: Url,
    #[command(flatten)]
    http: HttpOptions,
}

pub(crate) async fn run(args: ImportArgs) -> anyhow::Result<()> {
    let client = args.http.client(&[&args.couriers_url])?;
    let name = args.file.display();
    let text = std::fs::read_to_string(&args.file).with_context(|| format!("reading {name}"))?;
    let lines = read(&text, is_json(&args.file));
    let errors: Vec<_> = lines
        .iter()
        .filter_map(|(line, read)| Some(format!("line {line}: {}", read.as_ref().err()?)))
        .collect();
    ensure!(errors.is_empty(), "{name}: no courier was added\n{}", shown(&errors));
    ensure!(!lines.is_empty(), "{name} has no couriers");
    ensure!(
        lines.len() <= MAX_COURIERS,
        "{name} has {} couriers; at most {MAX_COURIERS} can be added at once",
        lines.len()
    );
    let numbers: Vec<usize> = lines.iter().map(|(line, _)| *line).collect();
    let couriers: Vec<Value> =
        lines.into_iter().filter_map(|(_, read)| read.ok()).map(Value::Object).collect();
    let mut url = args.couriers_url;
    url.set_path(&format!("{}/couriers", url.path().trim_end_matches('/')));
    let answer = http::send(client.post(url.clone()).json(&couriers))
        .await
        .map_err(|error| http::explain(error, "the courier service", &url, "--couriers-url"))?;
    let (status, body) = http::read_json(answer, "courier").await?;
    if status != StatusCode::CREATED {
        let detail = body["detail"].as_str().unwrap_or("no details");
        let errors = body["errors"].as_array().map(|errors| {
            errors.iter().map(|error| violation(error, &numbers)).collect::<Vec<_>>()
        });
        match errors.filter(|errors| !errors.is_empty()) {
            Some(errors) => bail!("{name}: no courier was added\n{}", shown(&errors)),
            None => bail!("the courier service answered with {status}: {detail}"),
        }
    }
    let ids: Vec<_> = body["ids"].as_array().into_iter().flatten().map(Value::to_string).collect();
    output::print(&ids.join("\n"))
}

fn shown(errors: &[String]) -> String {
    errors.iter().map(|error| format!("  {error}")).collect::<Vec<_>>().join("\n")
}

/// Returns a violation with the number of its line instead of its place in the array.
fn violation(error: &Value, numbers: &[usize]) -> String {
    let (pointer, message) =
        (error["pointer"].as_str().unwrap_or(""), error["message"].as_str().unwrap_or("?"));
    let mut parts = pointer.trim_start_matches('/').splitn(2, '/');
    let line = parts.next().and_then(|place| numbers.get(place.parse::<usize>().ok()?));
    match (line, parts.next()) {
        (Some(line), Some(field)) => format!("line {line}: {field} {message}"),
        (Some(line), None) => format!("line {line}: {message}"),
        (None, _) => format!("{pointer} {message}"),
    }
}

fn is_json(file: &Path) -> bool {
    let ending = file.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ["json", "jsonl", "ndjson"].contains(&ending))
}

/// A line of the file: its number, and the members of its courier or the reason why it has none.
type Line = (usize, Result<Map<String, Value>, String>);

/// Reads the lines with couriers; blank lines are left out.
fn read(text: &str, is_json: bool) -> Vec<Line> {
    // Some programs begin a file with this mark.
    let text = text.trim_start_matches('\u{feff}');
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    if is_json {
        return lines.map(|(number, line)| (number, read_json(line))).collect();
    }
    let Some((number, header)) = lines.next() else { return Vec::new() };
    let columns = match split_csv(header).and_then(check_columns) {
        Ok(columns) => columns,
        Err(error) => return vec![(number, Err(error))],
    };
    lines.map(|(number, line)| (number, read_csv(line, &columns))).collect()
}

fn read_json(line: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(line) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err("must be a JSON object".to_owned()),
        Err(_) => Err("must be JSON".to_owned()),
    }
}

const COLUMNS: [&str; 4] = ["name", "phone", "transport_type", "status"];

fn check_columns(columns: Vec<String>) -> Result<Vec<String>, String> {
    for (place, column) in columns.iter().enumerate() {
        if !COLUMNS.contains(&column.as_str()) {
            return Err(format!("the column {column} is not one of {}", COLUMNS.join(", ")));
        }
        if columns[..place].contains(column) {
            return Err(format!("the column {column} is repeated"));
        }
    }
    Ok(columns)
}

fn read_csv(line: &str, columns: &[String]) -> Result<Map<String, Value>, String> {
    let fields = split_csv(line)?;
    if fields.len() != columns.len() {
        return Err(format!("has {} fields instead of {}", fields.len(), columns.len()));
    }
    // An empty field is a value that is not given.
    let given = columns.iter().cloned().zip(fields).filter(|(_, field)| !field.is_empty());
    Ok(given.map(|(column, field)| (column, Value::String(field))).collect())
}

/// Splits a line at its commas. A field in quotes may contain commas, and quotes as two quotes.
fn split_csv(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.trim_start().strip_prefix('"') {
            Some(quoted) => split_quoted(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match after.trim_start().strip_prefix(',') {
            Some(next) => rest = next,
            None if after.trim().is_empty() => return Ok(fields),
            None => return Err("has text after a quoted field".to_owned()),
        }
    }
}

/// Returns the field that begins after a quote, and the rest of the line.
fn split_quoted(mut text: &str) -> Result<(String, &str), String> {
    let mut field = String::new();
    loop {
        let (part, after) = text.split_once('"').ok_or("has a quote that does not end")?;
        field.push_str(part);
        match after.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                text = next;
            }
            None => return Ok((field, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_of_csv_is_split_at_its_commas() {
        let split = |line: &str| split_csv(line).unwrap();
        assert_eq!(split("a, b ,,c"), ["a", "b", "", "c"]);
        assert_eq!(
            split(r#""Ivanova, ""Anna""" ,+7,"""#.trim_end_matches('"')),
            [r#"Ivanova, "Anna""#, "+7", ""]
        );
        assert!(split_csv(r#""a" b,c"#).is_err() && split_csv(r#""a"#).is_err());
    }

    #[test]
    fn lines_keep_their_numbers_and_errors_name_them() {
        let text = "\u{feff}phone,name,status\n+1,Anna,\n\n+2,Boris\n";
        let lines = read(text, false);
        assert_eq!(
            lines[0],
            (2, Ok(json!({"phone": "+1", "name": "Anna"}).as_object().unwrap().clone()))
        );
        assert_eq!(lines[1], (4, Err("has 2 fields instead of 3".to_owned())));
        assert!(read("name,name\n", false)[0].1.is_err() && read("id\n", false)[0].1.is_err());
        let lines = read("{\"name\":1}\n\n[]\nx", true);
        assert_eq!(lines.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 3, 4]);
        assert!(lines[1].1.is_err() && lines[2].1.is_err());

        let error = json!({ "pointer": "/1/phone", "message": "must be a number" });
        assert_eq!(violation(&error, &[2, 4]), "line 4: phone must be a number");
    }
}
