//! Names and networks of workflows.

use fake_cluster::runtime::{VolumeFiles, Wish};
use serde_json::json;

use crate::machine::{Machine, pod, shell};

#[tokio::test(flavor = "multi_thread")]
async fn the_pods_of_a_workflow_find_each_other_by_name() {
    let Some(machine) = Machine::new().await else { return };
    let wait = "echo up; until getent hosts late; do sleep 0.05; done";
    let mut early = machine.start(&shell("early", wait), VolumeFiles::new());
    early.until("up").await;
    let aliases = json!([{ "ip": "10.1.2.3", "hostnames": ["db", "db.corp"] }]);
    let look = "getent ahostsv4 early.wp-hsvc-1.ci.svc.cluster.local | head -1; getent hosts db.corp; getent hosts stranger || echo none";
    let late = pod("late", json!({ "hostAliases": aliases }), json!({ "command": ["/bin/sh", "-c", look] }));
    let stranger = pod("stranger", json!({ "subdomain": "wp-hsvc-2" }), json!({ "command": ["true"] }));
    machine.run(&stranger).await.good();
    let output = machine.run(&late).await.good();
    let words: Vec<Vec<&str>> = output.lines().map(|line| line.split_whitespace().take(1).collect()).collect();
    assert_eq!(words, [["127.0.0.1"], ["10.1.2.3"], ["none"]], "{output}");
    assert!(early.end().await.good().contains("127.0.0.1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn offline_a_workflow_reaches_itself_and_nothing_else() {
    let Some(machine) = Machine::with(|settings| settings.offline = true).await else { return };
    let host = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = host.local_addr().unwrap().port();
    let serve = format!("exec 2>&1; echo hello | perl -MIO::Socket::INET -e '{}'", serve(port));
    let mut service = machine.start(&shell("service", &serve), VolumeFiles::new());
    service.until("listening").await;
    let script = format!(
        "exec 2>&1; tail -n +3 /proc/net/dev | cut -d: -f1; tail -n +2 /proc/net/route | wc -l; cat /etc/resolv.conf; perl -MIO::Socket::INET -e '{}'",
        call("service", port)
    );
    let output = machine.run(&shell("client", &script)).await.good();
    assert_eq!(output.split_whitespace().collect::<Vec<_>>(), ["lo", "0", "hello"], "{output}");
    // Another workflow has the same port to itself, and sees neither that one nor the host's.
    let other = format!("exec 2>&1; perl -MIO::Socket::INET -e '{}'", call("127.0.0.1", port));
    let ended = machine
        .run(&pod("other", json!({ "subdomain": "wp-hsvc-2" }), json!({ "command": ["/bin/sh", "-c", other] })))
        .await;
    assert!(ended.output.contains("refused"), "{}", ended.output);
    service.wish(Wish::Kill);
    service.end().await.exit.unwrap();
}

fn serve(port: u16) -> String {
    format!(
        "$| = 1; my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => \"127.0.0.1:{port}\") or die \"$!\"; print \"listening\\n\"; \
         my $text = <STDIN>; while (my $c = $s->accept) {{ print $c $text; close $c }}"
    )
}

fn call(host: &str, port: u16) -> String {
    format!("my $s = IO::Socket::INET->new(\"{host}:{port}\") or die \"$!\"; print <$s>")
}
