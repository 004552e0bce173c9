//! The list of banned words, and the search for them in a text.

/// Banned words, the words to write instead, and the texts that may contain a banned one.
///
/// Case does not count. Several words are a phrase, which also matches with `_`, `-`, a change of
/// case or a line break between its words.
const BANNED: [(&[&str], &str, &[&str]); 24] = [
    (&["anew"], "again", &[]),
    // The beds that the generator sells.
    (
        &["bed", "the stand", "local stand", "test stand", "town", "stock"],
        "test environment, local servers, courier fixture, seeded orders",
        &["Bed linen"],
    ),
    // A column, a member and a code in the JSON of the courier service, and a generated bad value.
    (&["by hand"], "manually, manual", &["by_hand", "\"by hand\""]),
    (&["crew", "enlist", "enlists", "enlisted"], "workers, register", &[]),
    // CHANGELOG.md names the former problem types, here and below.
    (&["elsewhere"], "otherwise, or the name of the place", &["/docs#from-elsewhere` →"]),
    (&["follower"], "tail reader", &[]),
    // The language code of Hebrew.
    (&["he", "him", "his", "she", "hers"], "they, them, their, the courier", &["\"he\""]),
    (&["hence", "lest"], "so, therefore, so that … not", &[]),
    (&["in vain", "pointless"], "without effect, already in that state", &["/docs#pointless` →"]),
    (&["insist", "insists", "patience", "farewell"], "retry forever, timeout", &[]),
    (&["kin"], "related, or all the names", &[]),
    (&["life"], "history (of an order), run (of a process)", &[]),
    (&["mend", "mended"], "edited (a record), repaired", &[]),
    // The words of an invariant.
    (&["recount", "recounts", "recounted"], "audit check", &["equal a recount"]),
    (&["rubbish"], "invalid records", &[]),
    (&["shall", "ought"], "must, will, should", &[]),
    // CHANGELOG.md names former members of JSON and a former label.
    (
        &["silence", "silent", "silently"],
        "unresponsive, does not answer, without a report",
        &[
            "`silent` →",
            "`kafka_silent` →",
            "/docs#database-silent` →",
            "/docs#kafka-silent` →",
            "the label was `silence`",
        ],
    ),
    (&["slip"], "typing error", &[]),
    (&["so many"], "the number of …", &[]),
    (
        &["borne", "bids", "spare", "spares", "splinter", "vouch", "vouches", "wears"],
        "carried, requires, saves, a part, guarantees, has",
        &[],
    ),
    // A column.
    (&["told", "heard", "hearing"], "recorded, published, reported, consumed", &["told_at"]),
    (&["weather"], "transient error", &[]),
    (&["whoever", "somebody", "stranger", "nobody but"], "the client, the operator, only", &[]),
    (&["world"], "simulation, scenario", &["`world_ended` →"]),
];

/// Beginnings of a Rust doc comment that neither say what the item does nor name it.
const BANNED_BEGINNINGS: [&str; 8] =
    ["What", "How", "Where", "Whether", "So many", "As long as", "Those of", "One that"];

/// Returns the place of each banned word in a text, and the words to write instead.
pub(super) fn banned_words(name: &str, text: &str) -> Vec<String> {
    let allowed = BANNED.iter().flat_map(|(_, _, allowed)| *allowed);
    let text = allowed.fold(text.to_owned(), |text, allowed| text.replace(allowed, "-"));
    let words = words_of(&text);
    let mut faults = Vec::new();
    for (start, (line, first)) in words.iter().enumerate() {
        for (banned, instead, _) in &BANNED {
            let found = banned.iter().find(|phrase| {
                phrase.starts_with(first.as_str())
                    && phrase.split(' ').enumerate().all(|(place, word)| {
                        words.get(start + place).is_some_and(|(_, one)| one == word)
                    })
            });
            faults.extend(found.map(|one| format!("{name}:{line}: \"{one}\": write {instead}")));
        }
    }
    faults
}

/// Returns the words of a text in lower case, each with the number of its line. Identifiers are
/// split at `_` and where the case changes.
fn words_of(text: &str) -> Vec<(usize, String)> {
    let mut words = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut word = String::new();
        let mut before = ' ';
        let mut letters = line.chars().peekable();
        while let Some(letter) = letters.next() {
            // `HTTPServer` is two words, too: its `S` follows an upper-case letter and begins a
            // word.
            let begins_word = letter.is_uppercase()
                && (!before.is_uppercase()
                    || letters.peek().is_some_and(|next| next.is_lowercase()));
            if !letter.is_alphanumeric() || begins_word {
                push_word(&mut words, index + 1, &mut word);
            }
            if letter.is_alphanumeric() {
                word.extend(letter.to_lowercase());
            }
            before = letter;
        }
        push_word(&mut words, index + 1, &mut word);
    }
    words
}

fn push_word(words: &mut Vec<(usize, String)>, line: usize, word: &mut String) {
    if !word.is_empty() {
        words.push((line, std::mem::take(word)));
    }
}

/// Returns the place of each doc comment of a Rust source that begins with a banned word.
pub(super) fn banned_beginnings(name: &str, source: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut is_inside = false;
    for (index, line) in source.lines().enumerate() {
        let line = line.trim_start();
        let comment = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
        let words = words_of(comment.unwrap_or_default());
        for banned in BANNED_BEGINNINGS {
            let begins = banned
                .to_lowercase()
                .split(' ')
                .enumerate()
                .all(|(place, word)| words.get(place).is_some_and(|(_, one)| one == word));
            if begins && !is_inside {
                faults.push(format!(
                    "{name}:{}: begins with \"{banned}\": begin with a verb (\"Returns …\") or \
                     name the thing",
                    index + 1
                ));
            }
        }
        is_inside = comment.is_some();
    }
    faults
}

#[test]
fn a_banned_word_is_found_in_every_form() {
    let found = |text: &str| banned_words("file", text);

    assert_eq!(found("again")[..], [""; 0]);
    assert_eq!(found("Made\nANEW.")[..], ["file:2: \"anew\": write again"]);
    for text in ["insist", "let is_insist = 1", "DoInsist", "do-insist", "ABInsist", "insistX"] {
        assert_eq!(found(text).len(), 1, "{text}");
    }
    for text in ["by hand", "By Hand", "by\n    /// hand", "ByHand", "by-hand"] {
        assert_eq!(found(text).len(), 1, "{text}");
    }
    for text in ["insisted", "consist", "told_at", "by_hand", "lifetime", "the standard"] {
        assert_eq!(found(text)[..], [""; 0], "{text}");
    }
    let beginnings = "/// Returns it.\n/// What it is.\nfn f();\n//! How it is.\n// Where it is.";
    assert_eq!(
        banned_beginnings("file", beginnings)[..],
        ["file:4: begins with \"How\": begin with a verb (\"Returns …\") or name the thing"]
    );
}
