//! The texts that the pages of both services share, and the plural form of a word after a number.

use serde::Serialize;

use super::lang::{Lang, Plural};

/// The plural forms of a noun: one, few, many, as in [`Plural`].
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
                &Self { skip: "Skip to content", sections: "Sections", language: "Language" }
            }
            Lang::Ru => {
                &Self {
                    skip: "Перейти к содержимому", sections: "Разделы", language: "Язык"
                }
            }
        }
    }
}

/// The texts of the API documentation page. The page contains those that its script shows as JSON.
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
                problems_text: "All error types of this API. The field “type” of an error response links to its entry here.",
                parameters: "Parameters",
                body: "Request body",
                answers: "Responses",
                headers: "Headers",
                required: "required",
                example: "example",
                try_it: "Try it",
                schemas: "Schemas",
                copy: "Copy",
                copied: "Copied",
                not_copied: "Not copied: blocked by the browser",
                unreachable: "The service does not answer. Check the connection and try again.",
            },
            Lang::Ru => &Self {
                problems: "Ошибки",
                problems_text: "Все типы ошибок этого API. На них ссылается поле type в ответе с ошибкой.",
                parameters: "Параметры",
                body: "Тело запроса",
                answers: "Ответы",
                headers: "Заголовки",
                required: "обязательно",
                example: "пример",
                try_it: "Попробовать",
                schemas: "Схемы",
                copy: "Скопировать",
                copied: "Скопировано",
                not_copied: "Не скопировано: браузер запретил",
                unreachable: "Сервис не отвечает. Проверьте соединение и повторите попытку.",
            },
        }
    }
}

/// The texts about the bytes of a rejected record.
#[derive(Debug)]
pub struct BytesWords {
    pub bytes: Forms,
    pub cut_to: &'static str,
    pub stored_in_part: &'static str,
    pub only_a_new_body: &'static str,
    pub headers_left_out: Forms,
}

impl BytesWords {
    #[must_use]
    pub fn of(lang: Lang) -> &'static Self {
        match lang {
            Lang::En => &Self {
                bytes: ["{} byte", "{} bytes", "{} bytes"],
                cut_to: "the first {} are shown; the JSON contains the whole record",
                stored_in_part: "only the first {} of {} are stored; SHA-256 of the whole: {}",
                only_a_new_body: "This record is too large to be stored whole, so it can be replayed only with a new body.",
                headers_left_out: [
                    "The headers ({} byte) are too large and are not stored.",
                    "The headers ({} bytes) are too large and are not stored.",
                    "The headers ({} bytes) are too large and are not stored.",
                ],
            },
            Lang::Ru => &Self {
                bytes: ["{} байт", "{} байта", "{} байт"],
                cut_to: "показаны первые {}; вся запись — в JSON",
                stored_in_part: "сохранены только первые {} из {}; SHA-256 полного значения: {}",
                only_a_new_body: "Запись слишком велика и сохранена не целиком, поэтому отправить её повторно можно только с новым содержимым.",
                headers_left_out: [
                    "Заголовки ({} байт) слишком велики и не сохранены.",
                    "Заголовки ({} байта) слишком велики и не сохранены.",
                    "Заголовки ({} байт) слишком велики и не сохранены.",
                ],
            },
        }
    }
}

/// Returns the text of a stored English message in the language of the page. In English, and for a
/// message without a translation, it is the stored message.
#[must_use]
pub fn translated<'a>(lang: Lang, message: &'a str, russian: Option<&'static str>) -> &'a str {
    match lang {
        Lang::En => message,
        Lang::Ru => russian.unwrap_or(message),
    }
}

/// Replaces the first `{}` by a value.
#[must_use]
pub fn fill(text: &str, value: impl AsRef<str>) -> String {
    text.replacen("{}", value.as_ref(), 1)
}

/// Returns the plural form for `n` with the number in it: `1 item`, `21 товар`.
#[must_use]
pub fn counted(lang: Lang, forms: &Forms, n: usize) -> String {
    let form = match lang.plural(u64::try_from(n).unwrap_or(u64::MAX)) {
        Plural::One => forms[0],
        Plural::Few => forms[1],
        Plural::Many => forms[2],
    };
    fill(form, lang.number(i128::try_from(n).unwrap_or(i128::MAX)))
}
