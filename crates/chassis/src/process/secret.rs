//! Secrets: given as a value, or as the name of a file that contains it, so that a secret need not be
//! in a command line, an environment variable or a settings file.

use std::path::Path;

use anyhow::{Context, ensure};

/// Returns the secret in the file that `<name>_FILE` names, or else the value of the variable `name`.
/// White space around the text of a file is not part of the secret.
pub fn read(
    name: &str,
    given: Option<&str>,
    file: Option<&Path>,
) -> anyhow::Result<Option<String>> {
    let Some(file) = file else { return Ok(given.map(str::to_owned)) };
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("reading {name}_FILE {}", file.display()))?;
    let text = text.trim();
    ensure!(!text.is_empty(), "{name}_FILE {} is empty", file.display());
    Ok(Some(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_overrides_the_variable_and_its_line_end_is_removed() {
        let file = std::env::temp_dir().join(format!("waybill-secret-{}", std::process::id()));
        std::fs::write(&file, "from the file\n").unwrap();
        let read = read("X", Some("from the variable"), Some(&file));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(read.unwrap().as_deref(), Some("from the file"));
    }

    #[test]
    fn without_a_file_the_variable_is_used() {
        assert_eq!(read("X", Some(" as it is "), None).unwrap().as_deref(), Some(" as it is "));
        assert_eq!(read("X", None, None).unwrap(), None);
    }

    #[test]
    fn a_file_that_is_missing_or_empty_is_named() {
        let missing = read("X", Some("x"), Some(Path::new("/nowhere/x"))).unwrap_err();
        assert_eq!(missing.to_string(), "reading X_FILE /nowhere/x");
        let empty = read("X", Some("x"), Some(Path::new("/dev/null"))).unwrap_err();
        assert_eq!(empty.to_string(), "X_FILE /dev/null is empty");
    }
}
