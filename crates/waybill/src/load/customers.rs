//! The customers of the generated orders: a fixed set, in which a few order often and most seldom.
//!
//! A customer is a function of their rank alone. So every run, with any seed, has the same customers,
//! and they are not kept in memory.

use super::{
    places::{COUNTRIES, City, Country},
    rng::Rng,
};

const CUSTOMERS: u64 = 20_000;

/// Separates the random streams of customers from those of orders.
const STREAM: u64 = 0x63_75_73_74;

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
        // RFC 2606 reserves these domains, so an e-mail that is sent by mistake has no recipient.
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

    /// Returns the address in the form of the country. Consecutive revisions have other addresses.
    pub(super) fn address(&self, revision: u64) -> String {
        // The house number is 1 to 9,999 and increases with each revision.
        let house = (self.house - 1 + revision) % 9_999 + 1;
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
pub(super) struct Customers {
    /// For each rank, the sum of the weights up to it.
    cumulative: Vec<u64>,
}

impl Customers {
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

    /// Returns the rank of the customer of the next order.
    pub(super) fn pick(&self, rng: &mut Rng) -> u64 {
        let total = self.cumulative.last().copied().expect("there are customers");
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
        let customers = Customers::new();
        let mut rng = Rng::of(&[1]);
        let mut orders: HashMap<u64, u32> = HashMap::new();
        for _ in 0..100_000 {
            *orders.entry(customers.pick(&mut rng)).or_default() += 1;
        }
        let of_first_hundred: u32 = (0..100).filter_map(|rank| orders.get(&rank)).sum();
        assert!((28_000..38_000).contains(&of_first_hundred), "{of_first_hundred}");
        assert!(orders.len() > 10_000, "{}", orders.len());
        assert!(orders.keys().all(|&rank| rank < CUSTOMERS));
    }

    #[test]
    fn the_parts_of_a_customer_match() {
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
