//! The sums of an order: goods, delivery, fee and total. Real producers send sums that do not add
//! up, so each one that can be checked is checked, and marked with the difference.

use chassis::web::{Lang, words::fill};

use super::words::Words;
use crate::order::Order;

pub(super) struct Sum {
    pub(super) label: &'static str,
    pub(super) amount: String,
    /// The difference, if the parts do not add up to this sum.
    pub(super) note: Option<String>,
    pub(super) last: bool,
}

pub(super) fn sums(lang: Lang, order: &Order<'_>) -> Vec<Sum> {
    let (words, payment) = (Words::of(lang), &order.payment);
    let line =
        |label, amount: i64| Sum { label, amount: lang.number(amount), note: None, last: false };
    // In i128, because neither the sum of 1,000 amounts nor a difference of two need fit an i64.
    let note = |stated: i64, counted: i128, above, below| {
        let difference = i128::from(stated) - counted;
        let words = if difference > 0 { above } else { below };
        let amount = lang.number(i128::try_from(difference.unsigned_abs()).unwrap_or(i128::MAX));
        (difference != 0).then(|| fill(words, amount))
    };
    let items = order.items.iter().map(|item| i128::from(item.total_price)).sum();
    let parts = [payment.goods_total, payment.delivery_cost, payment.custom_fee];
    let parts = parts.into_iter().map(i128::from).sum();
    vec![
        Sum {
            note: note(payment.goods_total, items, words.above_items, words.below_items),
            ..line(words.goods, payment.goods_total)
        },
        line(words.delivery, payment.delivery_cost),
        line(words.fee, payment.custom_fee),
        Sum {
            label: words.in_all,
            amount: format!("{} {}", lang.number(payment.amount), payment.currency),
            note: note(payment.amount, parts, words.above_parts, words.below_parts),
            last: true,
        },
    ]
}
