//! The words of an order's history, in every language.

use chassis::web::Lang;
use events::OrderStatus;

/// The names of statuses and events. `{}` stands for a value.
pub(super) struct StatusWords {
    /// Within a sentence, by rank.
    plain: [&'static str; 7],
    /// At the start of an entry: the order reached this status; by rank.
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
    published: "Published as created",
    repeated: "{} again, ignored: nothing new",
    lower: "{} told late, ignored: it had come further",
    unknown: "“{}”, ignored: nobody here knows this status",
    updated: "Published as updated, version {}",
    updated_without_version: "Told as updated",
};

static RU: StatusWords = StatusWords {
    plain: ["создан", "в ожидании", "подтверждён", "готовится", "в пути", "выполнен", "отменён"],
    reached: ["Создан", "В ожидании", "Подтверждён", "Готовится", "В пути", "Выполнен", "Отменён"],
    published: "Опубликован как созданный",
    repeated: "Снова «{}» — пропущено, ничего нового",
    lower: "Запоздалое «{}» — пропущено, заказ уже дальше",
    unknown: "«{}» — пропущено, такой статус здесь неизвестен",
    updated: "Опубликовано изменение, версия {}",
    updated_without_version: "Сообщили об изменении",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_have_a_place_for_the_same_values() {
        let texts = |w: &StatusWords| {
            [w.published, w.repeated, w.lower, w.unknown, w.updated, w.updated_without_version]
                .map(|text| text.matches("{}").count())
        };
        assert_eq!(texts(&EN), texts(&RU));
    }
}
