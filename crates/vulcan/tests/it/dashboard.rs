//! The Grafana dashboard asks for what the server has.

use std::collections::BTreeSet;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::place::{Place, Server};

const DASHBOARD: &str = include_str!("../../../../docs/grafana/vulcan.json");

#[tokio::test]
async fn every_metric_of_the_dashboard_is_there_and_no_family_twice() {
    let place = Place::new();
    let server = Server::start(&place).await;
    server
        .run(&place, &["run", "-r", "bash", "-c", "true"])
        .await
        .with(0);
    let address = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();

    let types: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    assert_eq!(
        types.iter().collect::<BTreeSet<_>>().len(),
        types.len(),
        "{types:#?}"
    );
    let wanted: BTreeSet<&str> = DASHBOARD
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("vulcan_"))
        .collect();
    assert!(wanted.len() > 5);
    for name in wanted {
        assert!(text.contains(&format!("\n{name}")), "{name} is not among\n{text}");
    }
}
