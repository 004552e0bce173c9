//! Words that every page has, and how words go with figures.

use super::lang::{Lang, Plural};

/// A noun after a figure: one, few, many.
pub type Forms = [&'static str; 3];

/// The words of the frame.
#[derive(Debug)]
pub struct FrameWords {
    /// The link past the header.
    pub skip: &'static str,
    /// What the sections are called together.
    pub sections: &'static str,
    /// What the choice of a language is called.
    pub language: &'static str,
}

impl FrameWords {
    /// In this language.
    #[must_use]
    pub fn of(lang: Lang) -> &'static Self {
        match lang {
            Lang::En => {
                &Self { skip: "Skip to the content", sections: "Sections", language: "Language" }
            }
            Lang::Ru => &Self {
                skip: "К содержанию", sections: "Разделы", language: "Язык"
            },
        }
    }
}

/// Puts a value in the place of `{}`.
#[must_use]
pub fn fill(text: &str, value: impl AsRef<str>) -> String {
    text.replacen("{}", value.as_ref(), 1)
}

/// `1 item`, `21 товар`: the form that goes with `n`, with the figure in it.
#[must_use]
pub fn counted(lang: Lang, forms: &Forms, n: usize) -> String {
    let form = match lang.plural(u64::try_from(n).unwrap_or(u64::MAX)) {
        Plural::One => forms[0],
        Plural::Few => forms[1],
        Plural::Many => forms[2],
    };
    fill(form, lang.number(i128::try_from(n).unwrap_or(i128::MAX)))
}
