//! The texts of the pages of rejected status records, in English and Russian.

use chassis::{
    rejected::Violation,
    web::{Lang, words::translated},
};

pub(super) struct RejectedWords {
    pub(super) list_title: &'static str,
    pub(super) list_text: &'static str,
    pub(super) none: &'static str,
    pub(super) none_for_reason: &'static str,
    pub(super) reason: &'static str,
    pub(super) any_reason: &'static str,
    pub(super) filter: &'static str,
    pub(super) record: &'static str,
    pub(super) age: &'static str,
    pub(super) older: &'static str,
    pub(super) record_title: &'static str,
    pub(super) not_found_title: &'static str,
    pub(super) not_found_text: &'static str,
    pub(super) violations: &'static str,
    pub(super) whole_record: &'static str,
    pub(super) as_received: &'static str,
    pub(super) key: &'static str,
    pub(super) no_value: &'static str,
    pub(super) not_text: &'static str,
    pub(super) headers: &'static str,
    pub(super) replays: &'static str,
    pub(super) no_replays: &'static str,
    pub(super) replayed_as_is: &'static str,
    pub(super) replayed_edited: &'static str,
    pub(super) replay: &'static str,
    pub(super) replay_text: &'static str,
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
    list_title: "Rejected status events",
    list_text: "Records of the status topic that are not valid events. Each record is stored with the rules that it violates, and can be replayed.",
    none: "No rejected records.",
    none_for_reason: "No records are rejected for this reason.",
    reason: "Reason",
    any_reason: "any reason",
    filter: "Filter",
    record: "Record",
    age: "Age",
    older: "Older records",
    record_title: "Rejected status event",
    not_found_title: "Rejected record not found",
    not_found_text: "There is no rejected record with this topic, partition and offset. Check the address.",
    violations: "Violations",
    whole_record: "the whole record",
    as_received: "As received",
    key: "key",
    no_value: "The record has no value.",
    not_text: "not UTF-8, shown in hexadecimal",
    headers: "Headers",
    replays: "Replays",
    no_replays: "Not replayed yet.",
    replayed_as_is: "Replayed unchanged",
    replayed_edited: "Replayed with edits",
    replay: "Replay unchanged",
    replay_text: "Sends the same bytes to the topic again. Use this if the validation rules have changed. To send an edited event, use the API or “waybill rejected replay --file”.",
    unavailable_title: "The rejected records cannot be shown",
    database_unavailable: "The database does not answer. No data is lost. Try again in a few seconds.",
    not_sent: "Kafka has not confirmed the record. It is safe to send it again.",
};

static RUSSIAN: RejectedWords = RejectedWords {
    list_title: "Отклонённые события статуса",
    list_text: "Записи топика статусов, которые не являются корректными событиями статуса. Каждая хранится вместе с найденными нарушениями; её можно отправить повторно.",
    none: "Отклонённых записей нет.",
    none_for_reason: "Записей, отклонённых по этой причине, нет.",
    reason: "Причина",
    any_reason: "любая",
    filter: "Применить",
    record: "Запись",
    age: "Давность",
    older: "Более ранние записи",
    record_title: "Отклонённое событие статуса",
    not_found_title: "Отклонённая запись не найдена",
    not_found_text: "Отклонённой записи с такими топиком, партицией и смещением нет. Проверьте адрес.",
    violations: "Нарушения",
    whole_record: "вся запись",
    as_received: "Исходная запись",
    key: "ключ",
    no_value: "У записи нет значения.",
    not_text: "не UTF-8, показано в шестнадцатеричном виде",
    headers: "Заголовки",
    replays: "Повторные отправки",
    no_replays: "Запись ещё не отправляли повторно.",
    replayed_as_is: "Отправлена без изменений",
    replayed_edited: "Отправлена с изменениями",
    replay: "Отправить без изменений",
    replay_text: "Отправляет в топик те же байты. Это поможет, если изменились правила проверки. Изменённое событие можно отправить через API или командой «waybill rejected replay --file».",
    unavailable_title: "Не удалось показать отклонённые записи",
    database_unavailable: "База данных не отвечает. Данные не потеряны. Повторите через несколько секунд.",
    not_sent: "Kafka не подтвердила запись. Её можно безопасно отправить ещё раз.",
};

/// Returns the text of a violation. In English, and for a code without a translation, it is the
/// stored message.
pub(super) fn violation(lang: Lang, violation: &Violation) -> &str {
    translated(lang, &violation.message, russian(&violation.code))
}

fn russian(code: &str) -> Option<&'static str> {
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
        for code in reasons() {
            assert!(russian(code).is_some(), "{code}");
        }
    }
}
