//! etcd, kube-apiserver and kube-controller-manager as processes of the one binary that tests/cluster/apiserver builds.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use super::{
    client::Client,
    http,
    network::NODE,
    process::Process,
    until::{LIMIT, until},
};

/// The API server's port, on the node's address.
pub(crate) const PORT: u16 = 6443;
/// That of the other one, which only the tests know.
const OTHER_PORT: u16 = 7443;
const ETCD: &str = "http://127.0.0.1:2379";
const ADMIN_TOKEN: &str = "the-administrator-of-the-tests";

/// Only what Headgate and other pods ask, and what a person would: not the controllers, who use the administrator's
/// token.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  userGroups: [system:serviceaccounts]
- level: None
";

/// Those that make what the tests look at. No node-lifecycle controller: the one node is always there.
const CONTROLLERS: &str = "serviceaccount-controller,serviceaccount-token-controller,\
root-ca-certificate-publisher-controller,namespace-controller,garbage-collector-controller,\
endpointslice-controller,deployment-controller,replicaset-controller,daemonset-controller,disruption-controller";

/// The processes of the control plane.
pub(crate) struct ControlPlane {
    kubetest: PathBuf,
    /// Keys, kubeconfig, etcd's data.
    state: PathBuf,
    logs: PathBuf,
    _etcd: Process,
    apiserver: Mutex<Process>,
    _controllers: Process,
}

impl ControlPlane {
    /// Starts everything and waits until the API server is ready.
    pub(crate) fn start(kubetest: &Path, state: &Path, logs: &Path) -> Self {
        let run = |name: &str, args: &[String]| {
            let mut command = Command::new(kubetest);
            command.args(args);
            Process::spawn(&mut command, &logs.join(format!("{name}.log"))).unwrap()
        };
        let keys =
            Command::new(kubetest).arg("keys").arg("--dir").arg(state).args(["--san", &NODE.to_string()]).output();
        let keys = keys.unwrap();
        assert!(keys.status.success(), "kubetest keys: {}", String::from_utf8_lossy(&keys.stderr));
        fs::write(state.join("tokens.csv"), format!("{ADMIN_TOKEN},admin,admin,system:masters\n")).unwrap();
        fs::write(state.join("audit-policy.yaml"), AUDIT_POLICY).unwrap();
        fs::write(state.join("kubeconfig"), kubeconfig(state)).unwrap();

        let etcd = run("etcd", &["etcd".to_owned(), format!("--data-dir={}", state.join("etcd").display())]);
        let apiserver = run("apiserver", &apiserver_args(state, &logs.join("audit.log"), PORT));
        until_ready(&apiserver, PORT);
        let controllers = run("controller-manager", &controller_args(state));
        Self {
            kubetest: kubetest.to_owned(),
            state: state.to_owned(),
            logs: logs.to_owned(),
            _etcd: etcd,
            apiserver: Mutex::new(apiserver),
            _controllers: controllers,
        }
    }

    /// The administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.state.join("kubeconfig")
    }

    /// The real kubectl.
    pub(crate) fn kubectl(&self) -> PathBuf {
        self.kubetest.with_file_name("kubectl")
    }

    /// The API server's audit log, one JSON object a line.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.logs.join("audit.log")
    }

    /// Kills the API server as a crash would; etcd and the controllers stay.
    pub(crate) fn kill_apiserver(&self) {
        let apiserver = self.apiserver.lock().unwrap();
        apiserver.signal("KILL");
        until("the API server has ended", LIMIT, || apiserver.exit());
    }

    /// Starts the API server again, with the state it had, and waits until it is ready.
    pub(crate) fn start_apiserver(&self) {
        let mut apiserver = self.apiserver.lock().unwrap();
        assert!(apiserver.exit().is_some(), "the API server still runs");
        let mut command = Command::new(&self.kubetest);
        command.args(apiserver_args(&self.state, &self.audit_log(), PORT));
        *apiserver = Process::spawn(&mut command, &self.logs.join("apiserver.log")).unwrap();
        until_ready(&apiserver, PORT);
    }

    /// Starts a second API server over the same etcd, of which nobody in the cluster knows, and waits until it is ready.
    pub(crate) fn other_apiserver(&self) -> OtherServer {
        let mut command = Command::new(&self.kubetest);
        command.args(apiserver_args(&self.state, &self.logs.join("other-audit.log"), OTHER_PORT));
        command.arg("--endpoint-reconciler-type=none");
        let process = Process::spawn(&mut command, &self.logs.join("other-apiserver.log")).unwrap();
        until_ready(&process, OTHER_PORT);
        OtherServer { url: format!("https://{NODE}:{OTHER_PORT}"), _process: process }
    }

    /// Compacts etcd at its current revision: a watch from an older one gets 410.
    pub(crate) fn compact_etcd(&self) {
        let output = Command::new(&self.kubetest).args(["etcd-compact", "--endpoint", ETCD]).output().unwrap();
        assert!(output.status.success(), "etcd-compact: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// A second API server; ended on drop.
pub(crate) struct OtherServer {
    /// What kubectl takes as `--server`.
    pub(crate) url: String,
    _process: Process,
}

fn until_ready(apiserver: &Process, port: u16) {
    until("the API server is ready", LIMIT, || {
        if let Some(exit) = apiserver.exit() {
            panic!("kube-apiserver ended: {:?}\n{}", exit.status, apiserver.log());
        }
        let mut client: Client = http::connect((NODE, port).into(), Some("kubernetes")).ok()?;
        let authorization = format!("Bearer {ADMIN_TOKEN}");
        client.send(super::client::request("GET", "/readyz", "kubernetes", &[("Authorization", &authorization)], b""));
        let answer = client.try_answer(true).ok()??;
        (answer.status == 200).then_some(())
    });
}

fn apiserver_args(state: &Path, audit_log: &Path, port: u16) -> Vec<String> {
    let state = state.display();
    vec![
        "apiserver".to_owned(),
        format!("--etcd-servers={ETCD}"),
        format!("--bind-address={NODE}"),
        format!("--advertise-address={NODE}"),
        format!("--secure-port={port}"),
        format!("--tls-cert-file={state}/apiserver.crt"),
        format!("--tls-private-key-file={state}/apiserver.key"),
        format!("--client-ca-file={state}/ca.crt"),
        format!("--token-auth-file={state}/tokens.csv"),
        format!("--service-account-key-file={state}/sa.pub"),
        format!("--service-account-signing-key-file={state}/sa.key"),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        format!("--audit-policy-file={state}/audit-policy.yaml"),
        format!("--audit-log-path={}", audit_log.display()),
        "--profiling=false".to_owned(),
    ]
}

fn controller_args(state: &Path) -> Vec<String> {
    let state = state.display();
    vec![
        "controller-manager".to_owned(),
        format!("--kubeconfig={state}/kubeconfig"),
        format!("--authentication-kubeconfig={state}/kubeconfig"),
        format!("--authorization-kubeconfig={state}/kubeconfig"),
        format!("--root-ca-file={state}/ca.crt"),
        format!("--service-account-private-key-file={state}/sa.key"),
        "--bind-address=127.0.0.1".to_owned(),
        "--leader-elect=false".to_owned(),
        // Nobody shares the API server with it.
        "--kube-api-qps=500".to_owned(),
        "--kube-api-burst=1000".to_owned(),
        format!("--controllers={CONTROLLERS}"),
    ]
}

fn kubeconfig(state: &Path) -> String {
    let ca = state.join("ca.crt");
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: tests\n\
         contexts: [{{name: tests, context: {{cluster: tests, user: admin}}}}]\n\
         clusters: [{{name: tests, cluster: {{server: 'https://{NODE}:{PORT}', certificate-authority: {}}}}}]\n\
         users: [{{name: admin, user: {{token: {ADMIN_TOKEN}}}}}]\n",
        ca.display()
    )
}
