//! The words of every page, and the form of a word after a number.

use serde::Serialize;

use super::lang::{Lang, Plural};

/// The forms of a noun after a number: one, few, many.
pub type Forms = [&'static str; 3];

#[derive(Debug)]
pub struct FrameWords {
    pub skip: &'static str,
    pub sections: &'static str,
    pub language: &'static str,
}

impl FrameWords {
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

/// The words of the API's documentation. Those that the browser writes are sent in the page as JSON.
#[derive(Debug, Serialize)]
pub struct DocsWords {
    #[serde(skip)]
    pub problems: &'static str,
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

/// Replaces `{}` by a value.
#[must_use]
pub fn fill(text: &str, value: impl AsRef<str>) -> String {
    text.replacen("{}", value.as_ref(), 1)
}

/// `1 item`, `21 товар`: the form for `n`, with the number in it.
#[must_use]
pub fn counted(lang: Lang, forms: &Forms, n: usize) -> String {
    let form = match lang.plural(u64::try_from(n).unwrap_or(u64::MAX)) {
        Plural::One => forms[0],
        Plural::Few => forms[1],
        Plural::Many => forms[2],
    };
    fill(form, lang.number(i128::try_from(n).unwrap_or(i128::MAX)))
}
