//! Both services at work on the same topics.

use std::net::SocketAddr;

use testkit::{
    Bed, CourierDatabase, Service,
    browser::{Page, Reader},
    order_json::SAMPLE,
    shared,
};

use crate::couriers_api::{add, delivery};

const UID: &str = "b563feb7b2b84b6test";

/// The order service and the courier service, which know each other's addresses.
async fn both(bed: &Bed, database: &CourierDatabase) -> (Service, Service) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let couriers = bed.start_couriers(database, &["--orders-url", &format!("http://{free}")]).await;
    let orders = bed.start_at(free, &["--couriers-url", &couriers.at("")]).await;
    (orders, couriers)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_page_shows_its_courier_by_whatever_name_this_machine_is_called() {
    let bed = Bed::new(shared()).await;
    let database = bed.courier_database().await;
    let (orders, couriers) = both(&bed, &database).await;
    add(&couriers, "Анна К.", "scooter", "available").await;
    bed.send(None, None, Some(SAMPLE.as_bytes())).await;
    delivery(&couriers, UID, "assigned").await;
    let SocketAddr::V4(address) = orders.address() else { panic!("loopback is IPv4") };
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{}/order/{UID}", address.port());
        let page = Page::open(Reader::default(), &url).await;
        page.shows("Анна К., by scooter, until").await;
        assert!(page.complaints().is_empty(), "{host}: {:?}", page.complaints());
    }
    orders.stop().await.unwrap();
    couriers.stop().await.unwrap();
}
