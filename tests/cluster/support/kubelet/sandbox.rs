//! How a container's process is started: in its pod's network namespace, with a root of its own that holds the host's
//! programs and libraries, our binary and the pod's volumes, as the user and with the rights that the pod is given.
//!
//! Everything is done by commands that replace each other (`nsenter`, `unshare`, a shell that mounts, `chroot`,
//! `setpriv`), so that the process that is started is the container's own in the end.

use std::{fmt::Write as _, path::Path, process::Command};

use k8s_openapi::api::core::v1::{Container, Pod};

use super::{super::network::PodNetwork, Host, Record, env, volumes};

/// What our image's user is when the pod names none.
const IMAGE_USER: i64 = 65_532;

/// Makes `$root`, which the script has mounted: the host's programs and libraries, read-only, and what else a small
/// image has. Links such as /bin -> usr/bin stay links.
const ROOT: &str = r#"
mkdir -p "$root"
mount -t tmpfs -o mode=0755 pod "$root"
for dir in bin sbin lib lib32 lib64 usr; do
  if [ -L "/$dir" ]; then cp -P "/$dir" "$root/$dir"
  elif [ -d "/$dir" ]; then mkdir "$root/$dir"; mount --bind -o ro "/$dir" "$root/$dir"; fi
done
mkdir "$root/proc" "$root/dev" "$root/etc" "$root/run" "$root/var"
# Relative: an absolute link would lead out of the new root while it is being filled.
ln -s ../run "$root/var/run"
mkdir -m 1777 "$root/tmp"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
for file in ld.so.cache nsswitch.conf ssl; do
  if [ -e "/etc/$file" ]; then cp -r "/etc/$file" "$root/etc/$file"; fi
done
printf '127.0.0.1 localhost\n' > "$root/etc/hosts"
: > "$root/headgate"
"#;

/// Whether this kubelet runs a container's image: those whose name (without registry and tag) starts with `headgate`.
pub(super) fn runs(container: &Container) -> bool {
    let image = container.image.as_deref().unwrap_or_default();
    image.rsplit('/').next().unwrap_or_default().starts_with("headgate")
}

/// The command that becomes the container.
///
/// # Errors
/// What the pod asks for and can't have (yet).
pub(super) async fn prepare(host: &Host, record: &Record, container: &Container, pod: &Pod) -> Result<Command, String> {
    let dir = host.state.join("pods").join(&record.uid);
    let volumes = volumes::make(host, record, pod, &dir.join("volumes")).await?;
    let environment = env::of(host, record, container, pod).await?;
    let user = User::of(container, pod)?;

    let mut script = format!("set -e\nroot={}\n{ROOT}", quoted(&dir.join("root").display().to_string()));
    let _ = writeln!(script, "mount --bind -o ro {} \"$root/headgate\"", quoted(&host.headgate.display().to_string()));
    for mount in container.volume_mounts.iter().flatten() {
        let source = volumes.get(&mount.name).ok_or_else(|| format!("no volume {}", mount.name))?;
        bind(&mut script, source, mount.sub_path.as_deref(), &mount.mount_path, mount.read_only == Some(true));
    }
    let security = container.security_context.as_ref();
    if security.and_then(|security| security.read_only_root_filesystem) == Some(true) {
        script.push_str("mount -o remount,bind,ro \"$root\"\n");
    }
    let _ = writeln!(script, "printf %s {} > /proc/sys/kernel/hostname", quoted(&record.name));
    let _ = write!(script, "exec chroot \"$root\" setpriv {} -- /headgate", user.flags(container));
    for arg in container.args.iter().flatten() {
        let _ = write!(script, " {}", quoted(&env::expand(arg, &environment)));
    }
    script.push('\n');

    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", PodNetwork::path_of(record.address).display()));
    command.args(["unshare", "--mount", "--uts", "--propagation", "private", "sh", "-c", &script]);
    command.env_clear().envs(environment);
    Ok(command)
}

fn bind(script: &mut String, source: &Path, sub_path: Option<&str>, at: &str, read_only: bool) {
    let source = sub_path.map_or_else(|| source.to_owned(), |sub| source.join(sub));
    let (source, at) = (quoted(&source.display().to_string()), quoted(at));
    let option = if read_only { "-o ro " } else { "" };
    let _ = writeln!(
        script,
        "if [ -d {source} ]; then mkdir -p \"$root\"{at}; else mkdir -p \"$(dirname \"$root\"{at})\"; : > \"$root\"{at}; fi\n\
         mount --bind {option}{source} \"$root\"{at}"
    );
}

/// One word of a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

struct User {
    user: i64,
    group: i64,
}

impl User {
    fn of(container: &Container, pod: &Pod) -> Result<Self, String> {
        let own = container.security_context.as_ref();
        let pods = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
        let user = own.and_then(|c| c.run_as_user).or_else(|| pods?.run_as_user).unwrap_or(IMAGE_USER);
        let group = own.and_then(|c| c.run_as_group).or_else(|| pods?.run_as_group).unwrap_or(user);
        let never_root = own.and_then(|c| c.run_as_non_root).or_else(|| pods?.run_as_non_root) == Some(true);
        if never_root && user == 0 {
            return Err("runAsNonRoot, and the user is root".to_owned());
        }
        Ok(Self { user, group })
    }

    /// What `setpriv` is told.
    fn flags(&self, container: &Container) -> String {
        let mut flags = format!("--reuid={} --regid={} --clear-groups", self.user, self.group);
        let security = container.security_context.as_ref();
        let dropped = security.and_then(|c| c.capabilities.as_ref()?.drop.as_ref());
        if dropped.is_some_and(|dropped| dropped.iter().any(|capability| capability == "ALL")) {
            flags.push_str(" --bounding-set=-all --inh-caps=-all");
        }
        if security.and_then(|c| c.allow_privilege_escalation) == Some(false) {
            flags.push_str(" --no-new-privs");
        }
        flags
    }
}
