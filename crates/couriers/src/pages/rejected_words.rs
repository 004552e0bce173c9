//! The texts of the pages of rejected status records, in English and Russian. Those that both services
//! share are in [`chassis::web::rejected`].

use chassis::web::{Lang, rejected::KindTexts};

pub(super) struct RejectedWords {
    pub(super) kind: KindTexts,
    pub(super) not_found_title: &'static str,
    pub(super) not_found_text: &'static str,
    pub(super) unavailable_title: &'static str,
    pub(super) database_unavailable: &'static str,
    pub(super) not_sent: &'static str,
}

impl RejectedWords {
    pub(super) fn of(lang: Lang) -> &'static Self {
        match lang {
            Lang::En => &ENGLISH,
            Lang::Ru => &RUSSIAN,
        }
    }
}

static ENGLISH: RejectedWords = RejectedWords {
    kind: KindTexts {
        list_title: "Rejected status events",
        list_text: "Records of the status topic that are not valid events. Each record is stored with the rules that it violates, and can be edited and replayed, or settled with a note.",
        record_title: "Rejected status event",
        edited: "Edited event",
    },
    not_found_title: "Rejected record not found",
    not_found_text: "There is no rejected record with this topic, partition and offset. Check the address.",
    unavailable_title: "The rejected records cannot be shown",
    database_unavailable: "The database does not answer. No data is lost. Try again in a few seconds.",
    not_sent: "Kafka has not confirmed the record. It is safe to send it again.",
};

static RUSSIAN: RejectedWords = RejectedWords {
    kind: KindTexts {
        list_title: "Отклонённые события статуса",
        list_text: "Записи топика статусов, которые не являются корректными событиями статуса. Каждая хранится вместе с найденными нарушениями; её можно изменить и отправить повторно или отметить как разобранную.",
        record_title: "Отклонённое событие статуса",
        edited: "Изменённое событие",
    },
    not_found_title: "Отклонённая запись не найдена",
    not_found_text: "Отклонённой записи с такими топиком, партицией и смещением нет. Проверьте адрес.",
    unavailable_title: "Не удалось показать отклонённые записи",
    database_unavailable: "База данных не отвечает. Данные не потеряны. Повторите через несколько секунд.",
    not_sent: "Kafka не подтвердила запись. Её можно безопасно отправить ещё раз.",
};

/// Returns the Russian text of a code, if it has one.
pub(super) fn russian(code: &str) -> Option<&'static str> {
    let text = match code {
        "null_record" => "у записи нет значения",
        "empty_record" => "значение записи пустое",
        "invalid_utf8" => "запись не в кодировке UTF-8",
        "invalid_json" => "некорректный JSON",
        "not_an_object" => "событие — не объект JSON",
        "duplicate_key" => "номер заказа или статус указан несколько раз",
        "wrong_type" => "статус — не текст, или номер заказа — не текст и не целое число",
        "missing" => "нет обязательного поля",
        "blank" => "поле не заполнено",
        "too_long" => "текст длиннее допустимого",
        "control_character" => "в тексте есть управляющие символы",
        "dots" => "номер заказа — точка или две точки, в адресе их передать нельзя",
        "refused_by_database" => "база данных не приняла событие",
        "internal_error" => {
            "внутренняя ошибка Waybill при обработке записи; сообщите о ней разработчикам"
        }
        _ => return None,
    };
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::{super::rejected::reasons, *};

    #[test]
    fn every_code_has_a_russian_text() {
        for code in reasons().iter() {
            assert!(russian(code).is_some(), "{code}");
        }
    }
}
