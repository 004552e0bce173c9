//! The texts of the courier's delivery on the page of an order, in English and Russian.

use chassis::web::Lang;
use events::{DeliveryStatus, Transport};

/// `{}` is replaced by a value.
pub(super) struct DeliveryWords {
    /// The statuses, in the order of [`DeliveryStatus::ALL`].
    statuses: [&'static str; DeliveryStatus::ALL.len()],
    /// The means of transport, in the order of [`Transport::ALL`].
    transports: [&'static str; Transport::ALL.len()],
    pub(super) courier: &'static str,
    pub(super) deadline: &'static str,
}

impl DeliveryWords {
    pub(super) fn of(lang: Lang) -> &'static Self {
        match lang {
            Lang::En => &EN,
            Lang::Ru => &RU,
        }
    }

    pub(super) fn status(&self, status: DeliveryStatus) -> &'static str {
        self.statuses[status as usize]
    }

    pub(super) fn transport(&self, transport: Transport) -> &'static str {
        self.transports[transport as usize]
    }
}

static EN: DeliveryWords = DeliveryWords {
    statuses: [
        "Assigned",
        "Moved to another courier",
        "Taken from the courier manually",
        "Overdue",
        "Released: not completed in time",
        "Waiting for a courier again",
        "Delivered",
        "Delivery cancelled",
    ],
    transports: ["on foot", "by scooter", "by car"],
    courier: "courier {}",
    deadline: "deadline {}",
};

static RU: DeliveryWords = DeliveryWords {
    statuses: [
        "Назначен курьер",
        "Передан другому курьеру",
        "Снят с курьера вручную",
        "Срок доставки истёк",
        "Снят с курьера: не доставлен вовремя",
        "Снова ждёт курьера",
        "Доставлен",
        "Доставка отменена",
    ],
    transports: ["пешком", "на самокате", "на машине"],
    courier: "курьер {}",
    deadline: "доставить до {}",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_are_in_the_order_of_the_variants() {
        for (number, status) in DeliveryStatus::ALL.into_iter().enumerate() {
            assert_eq!(status as usize, number);
        }
        for (number, transport) in Transport::ALL.into_iter().enumerate() {
            assert_eq!(transport as usize, number);
        }
        assert_eq!(EN.status(DeliveryStatus::Completed), "Delivered");
        assert_eq!(RU.transport(Transport::Car), "на машине");
    }
}
