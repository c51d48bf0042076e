//! Who may do what: tokens of the service and the routes that take them.

use crate::support::service::Service;

#[test]
fn figures_are_for_the_machine_itself_and_for_who_may_read_them() {
    let service = Service::start();
    assert_eq!(service.get("/metrics").status, 200);
    let from_afar = ("x-forwarded-for", "203.0.113.9");
    let ask = |token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [from_afar, ("authorization", bearer.as_str())];
        service.request("GET", "/metrics", &headers, b"")
    };
    ask("x").expect_problem(404, "not_found");
    ask(&service.token("clip:create")).expect_problem(404, "not_found");
    assert_eq!(ask(&service.token("ops:read")).status, 200);
    assert_eq!(ask(&service.token("admin")).status, 200);
}
