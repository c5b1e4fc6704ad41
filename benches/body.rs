//! Rendering the body of one request from its compiled template.

use std::hint::black_box;

use carteiro::cloud::body::Body;
use carteiro::domain::ids::{CampaignSeq, LaneId, MessageId, WireId};
use carteiro::intake::campaign_file;
use criterion::Criterion;

/// The ready campaign with a document, seven variables and two buttons.
const CAMPAIGN: &str = include_str!("../config/campaigns/vencimento-amanha.toml");

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let campaign =
        campaign_file::parse(CAMPAIGN, "vencimento-amanha.toml").expect("a ready campaign file is valid");
    let body = Body::compile(&campaign);
    let lane = LaneId { campaign: CampaignSeq(1), lane: 42 };
    let id = WireId {
        installation: "a1b2c3d".to_owned(),
        message: MessageId { lane, index: 1_234 },
        generation: 1,
    };
    let values = [
        "Francisco",
        "Cartão Aurora",
        "CT0000001234",
        "1.234,56",
        "10/12/2026",
        "https://boletos.example/CT0000001234.pdf",
    ];
    let value = |variable: usize| {
        values.get(variable).copied().unwrap_or("00190000090281234567890123456789012340000123456")
    };
    assert!(body.render(5_511_987_654_321, &id, value).len() > 400);
    criterion
        .bench_function("body/render", |b| b.iter(|| body.render(black_box(5_511_987_654_321), &id, value)));
    criterion.bench_function("body/compile", |b| b.iter(|| Body::compile(black_box(&campaign))));
    criterion.final_summary();
}
