//! The contract and the OpenAPI document, as a person reads them on a phone.

use serde_json::json;
use testkit::Backend;

use crate::accessible::{axe, look};
use crate::window::Browser;
use crate::{closed, replicas};

#[tokio::test]
async fn the_contract_fits_a_phone_and_leads_to_the_openapi_document_and_back() {
    let Some(browser) = Browser::start().await else {
        return;
    };
    let cluster = replicas(Backend::Embedded, 1, &[]).await;
    let phone = browser.phone().await;
    let docs = format!("{}/api/v1/docs", cluster.replica(0).base_url());
    phone.visit(&format!("{docs}#closing")).await;
    let fits = "return document.documentElement.scrollWidth <= innerWidth";
    assert_eq!(
        phone.js(fits).await,
        json!(true),
        "nothing is wider than the screen"
    );
    let styled = "return getComputedStyle(document.querySelector('pre')).overflowX";
    assert_eq!(phone.js(styled).await, "auto", "its policy lets its style be");
    let shown = "const top = document.getElementById('closing').getBoundingClientRect().top;
        return top >= 0 && top < innerHeight";
    phone.until("the link leads to its section", shown).await;
    if let Some(axe) = axe().await {
        look(&phone, &axe, "the contract").await;
    }

    phone.click("a[href='docs/openapi']").await;
    let operations = "return document.querySelectorAll('.opblock').length >= 6";
    phone.until("each operation can be clicked", operations).await;
    phone.click("a[href='../docs']").await;
    let back = "return location.pathname === '/api/v1/docs' && document.querySelector('main h1') !== null";
    phone.until("the contract is shown again", back).await;
    closed(vec![phone]).await;
    browser.end().await;
}
