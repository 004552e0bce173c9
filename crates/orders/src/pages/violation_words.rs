//! The Russian texts of violations: why a record was rejected. In English, the page shows the stored
//! message.

/// Returns the Russian text of a code, if it has one.
pub(super) fn russian(code: &str) -> Option<&'static str> {
    let text = match code {
        "null_record" => "у записи нет значения",
        "empty_record" => "значение записи пустое",
        "too_large" => "заказ больше 1 МиБ",
        "invalid_utf8" => "запись не в кодировке UTF-8",
        "invalid_json" => "некорректный JSON",
        "too_deep" => "вложенность больше 128 уровней",
        "not_an_object" => "заказ — не объект JSON",
        "duplicate_key" => "ключ повторяется внутри одного объекта",
        "lone_surrogate" => "в тексте непарный суррогат",
        "wrong_type" => "тип значения не соответствует модели",
        "not_an_integer" => "не целое число: дробная часть и экспонента не допускаются",
        "out_of_range" => "число не помещается в 64 бита",
        "missing" => "нет обязательного поля",
        "blank" => "поле не заполнено",
        "too_long" => "текст длиннее допустимого",
        "nul_character" => "в тексте есть символ U+0000",
        "control_character" => "в тексте есть управляющие символы",
        "dots" => "номер заказа — точка или две точки, в адресе их передать нельзя",
        "negative" => "отрицательное число не допускается",
        "unknown_currency" => "нет такого кода валюты в ISO 4217 (нужны заглавные буквы)",
        "invalid_date" => "это не дата и время по RFC 3339 со смещением от UTC",
        "implausible_email" => "это не адрес электронной почты",
        "implausible_phone" => {
            "это не номер телефона: нужно от 5 до 20 цифр, в начале можно +, в конце — добавочный номер"
        }
        "no_items" => "в заказе нет ни одного товара",
        "too_many_items" => "в заказе больше 1000 товаров",
        "sum_overflow" => "сумма не помещается в 64 бита",
        "no_orders" => "не передано ни одного заказа",
        "too_many_orders" => "в одном запросе больше 1000 заказов",
        "refused_by_database" => "база данных не приняла данные заказа",
        "internal_error" => {
            "внутренняя ошибка Waybill при обработке записи; сообщите о ней разработчикам"
        }
        "more" => "есть и другие нарушения, здесь они не показаны",
        _ => return None,
    };
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::violation::Code;

    #[test]
    fn every_code_has_a_russian_text() {
        for code in Code::ALL {
            assert!(russian(code.as_str()).is_some(), "{}", code.as_str());
        }
    }

    #[test]
    fn an_unknown_code_has_no_text() {
        assert_eq!(russian("negative"), Some("отрицательное число не допускается"));
        assert_eq!(russian("brand_new"), None);
    }
}
