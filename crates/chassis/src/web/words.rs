//! Words that every page has, and how words go with figures.

use serde::Serialize;

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

/// The words of the API's documentation; those that the browser writes go along with the page.
#[derive(Debug, Serialize)]
pub struct DocsWords {
    /// The title above the kinds of problem.
    #[serde(skip)]
    pub problems: &'static str,
    /// What stands below it.
    #[serde(skip)]
    pub problems_text: &'static str,
    parameters: &'static str,
    body: &'static str,
    answers: &'static str,
    headers: &'static str,
    required: &'static str,
    example: &'static str,
    try_it: &'static str,
    schemas: &'static str,
    copy: &'static str,
    copied: &'static str,
    not_copied: &'static str,
    unreachable: &'static str,
}

impl DocsWords {
    /// In this language.
    #[must_use]
    pub fn of(lang: Lang) -> &'static Self {
        match lang {
            Lang::En => &Self {
                problems: "Problems",
                problems_text: "The type of a problem leads here. One of each:",
                parameters: "Parameters",
                body: "Body",
                answers: "Answers",
                headers: "Headers",
                required: "required",
                example: "example",
                try_it: "Try it",
                schemas: "Schemas",
                copy: "Copy",
                copied: "Copied",
                not_copied: "The browser did not allow it",
                unreachable: "The service does not answer. Check the connection and try again.",
            },
            Lang::Ru => &Self {
                problems: "Ошибки",
                problems_text: "Сюда ведёт поле type каждой ошибки. Вот они все:",
                parameters: "Параметры",
                body: "Тело",
                answers: "Ответы",
                headers: "Заголовки",
                required: "обязателен",
                example: "пример",
                try_it: "Попробовать",
                schemas: "Схемы",
                copy: "Скопировать",
                copied: "Скопировано",
                not_copied: "Браузер не разрешил",
                unreachable: "Сервис не отвечает. Проверьте соединение и повторите.",
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
