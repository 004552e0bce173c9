//! The texts of an order's history, in English and Russian.

use chassis::web::Lang;
use events::OrderStatus;

/// The names of statuses and events. `{}` is replaced by a value.
pub(super) struct StatusWords {
    /// The name of a status within a sentence, by rank.
    plain: [&'static str; 7],
    /// The name at the start of an entry that says that the order reached this status, by rank.
    reached: [&'static str; 7],
    pub(super) published: &'static str,
    pub(super) repeated: &'static str,
    pub(super) lower: &'static str,
    pub(super) unknown: &'static str,
    pub(super) updated: &'static str,
    pub(super) updated_without_version: &'static str,
}

impl StatusWords {
    pub(super) fn of(lang: Lang) -> &'static Self {
        match lang {
            Lang::En => &EN,
            Lang::Ru => &RU,
        }
    }

    pub(super) fn plain(&self, status: OrderStatus) -> &'static str {
        self.plain[status as usize]
    }

    pub(super) fn reached(&self, status: OrderStatus) -> &'static str {
        self.reached[status as usize]
    }
}

static EN: StatusWords = StatusWords {
    plain: ["created", "pending", "confirmed", "cooking", "delivering", "completed", "cancelled"],
    reached: ["Created", "Pending", "Confirmed", "Cooking", "Delivering", "Completed", "Cancelled"],
    published: "Event “created” published",
    repeated: "{} again, ignored: nothing new",
    lower: "{} received late, ignored: the order already has a later status",
    unknown: "“{}” ignored: unknown status",
    updated: "Event “updated” published, version {}",
    updated_without_version: "Event “updated” received",
};

static RU: StatusWords = StatusWords {
    plain: ["создан", "в ожидании", "подтверждён", "готовится", "в пути", "выполнен", "отменён"],
    reached: ["Создан", "В ожидании", "Подтверждён", "Готовится", "В пути", "Выполнен", "Отменён"],
    published: "Опубликовано событие «создан»",
    repeated: "Повторный статус «{}» не учтён: ничего нового",
    lower: "Запоздавший статус «{}» не учтён: у заказа уже более поздний статус",
    unknown: "Статус «{}» не учтён: он неизвестен сервису",
    updated: "Опубликовано событие «изменён», версия {}",
    updated_without_version: "Получено событие «изменён»",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_have_the_same_placeholders() {
        let texts = |w: &StatusWords| {
            [w.published, w.repeated, w.lower, w.unknown, w.updated, w.updated_without_version]
                .map(|text| text.matches("{}").count())
        };
        assert_eq!(texts(&EN), texts(&RU));
    }
}
