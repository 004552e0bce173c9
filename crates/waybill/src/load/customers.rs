//! Who orders: a fixed town of people, few of whom order much and many of whom order seldom.
//!
//! A customer is a function of his rank alone, so every run, whatever its seed, meets the same
//! people, and none of them takes memory.

use super::{
    places::{COUNTRIES, City, Country},
    rng::Rng,
};

/// How many people there are.
const CUSTOMERS: u64 = 20_000;

/// Sets the streams of customers apart from those of orders.
const STREAM: u64 = 0x63_75_73_74;

/// A person with everything that an order says about him.
pub(super) struct Customer {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) phone: String,
    pub(super) email: String,
    pub(super) country: &'static Country,
    pub(super) city: City,
    pub(super) zip: String,
    street: &'static str,
    house: u64,
    flat: u64,
}

impl Customer {
    pub(super) fn of_rank(rank: u64) -> Self {
        let mut rng = Rng::of(&[STREAM, rank]);
        let country = rng.pick(&COUNTRIES);
        let names = rng.pick(&country.people);
        let (given, given_latin) = rng.pick(names.given);
        let (family, family_latin) = rng.pick(names.family);
        let city = rng.pick(country.cities);
        let mut zip = String::with_capacity(8);
        rng.fill(city.zip, &mut zip);
        let mut phone = String::with_capacity(16);
        rng.fill(city.phone, &mut phone);
        // Domains that RFC 2606 keeps free: a letter sent by mistake reaches nobody.
        let host = rng.pick(&["example.com", "example.net", "example.org"]);
        Self {
            id: format!("{family_latin}-{rank}"),
            name: [given, " ", family].concat(),
            phone,
            email: format!("{given_latin}.{family_latin}{}@{host}", rng.below(100)),
            country,
            city,
            zip,
            street: rng.pick(city.streets),
            house: 1 + rng.below(180),
            flat: rng.below(120),
        }
    }

    /// His address, written as his country does it. Moved by another number, another address.
    pub(super) fn address(&self, moved: u64) -> String {
        // Houses are numbered 1 to 9,999, so consecutive moves always differ.
        let house = (self.house - 1 + moved) % 9_999 + 1;
        let mut address = if self.country.number_first {
            format!("{house} {}", self.street)
        } else {
            format!("{} {house}", self.street)
        };
        if self.flat > 0 {
            address.push_str(self.country.flat);
            address.push_str(&self.flat.to_string());
        }
        address
    }
}

/// Picks customers by Zipf's law: rank k gets orders in proportion to 1 / (k + 10).
pub(super) struct Town {
    /// The weights of all ranks up to each one, summed.
    cumulative: Vec<u64>,
}

impl Town {
    pub(super) fn new() -> Self {
        let mut sum = 0;
        let cumulative = (0..CUSTOMERS)
            .map(|rank| {
                sum += (1 << 40) / (rank + 10);
                sum
            })
            .collect();
        Self { cumulative }
    }

    /// The rank of the customer who orders next.
    pub(super) fn pick(&self, rng: &mut Rng) -> u64 {
        let total = self.cumulative.last().copied().expect("the town has people");
        let point = rng.below(total);
        self.cumulative.partition_point(|&sum| sum <= point) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn few_customers_order_much_and_many_seldom() {
        let town = Town::new();
        let mut rng = Rng::of(&[1]);
        let mut orders: HashMap<u64, u32> = HashMap::new();
        for _ in 0..100_000 {
            *orders.entry(town.pick(&mut rng)).or_default() += 1;
        }
        let of_first_hundred: u32 = (0..100).filter_map(|rank| orders.get(&rank)).sum();
        assert!((28_000..38_000).contains(&of_first_hundred), "{of_first_hundred}");
        assert!(orders.len() > 10_000, "{}", orders.len());
        assert!(orders.keys().all(|&rank| rank < CUSTOMERS));
    }

    #[test]
    fn a_customer_fits_together() {
        let mut locales = std::collections::BTreeSet::new();
        for rank in 0..2_000 {
            let customer = Customer::of_rank(rank);
            locales.insert(customer.country.locale);
            let digits = customer.phone.strip_prefix('+').unwrap();
            assert!((10..=15).contains(&digits.len()), "{}", customer.phone);
            assert!(digits.bytes().all(|byte| byte.is_ascii_digit()), "{}", customer.phone);
            let (local, host) = customer.email.split_once('@').unwrap();
            assert!(host.starts_with("example."));
            let family = customer.id.split('-').next().unwrap();
            assert!(local.contains(family) && local.is_ascii(), "{local} {family}");
            assert!(customer.country.cities.iter().any(|city| city.name == customer.city.name));
            assert_ne!(customer.address(0), customer.address(1));
        }
        assert_eq!(locales.into_iter().collect::<Vec<_>>(), ["de", "en", "he", "ru"]);
    }
}
