use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use tokio::sync::mpsc as tokio_mpsc;

use super::{
    folder::{Content, Folder, Listing, Place},
    *,
};
use crate::{
    diagnostic::Severity,
    objects::{Kind, ObjectId},
    sources::Update,
};

fn service(name: &str, port: u16) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  ports:\n  - port: {port}\n")
}

fn joined(documents: &[String]) -> String {
    documents.join("---\n")
}

fn applied(update: &Update) -> Vec<String> {
    let show = |object: &Object| match object {
        Object::Service(s) => format!("{}:{}", s.meta.name, s.spec.ports.first().map_or(0, |p| p.port)),
        other => other.id().to_string(),
    };
    update.applied.iter().map(show).collect()
}

fn deleted(update: &Update) -> Vec<String> {
    update.deleted.iter().map(ToString::to_string).collect()
}

/// The diagnostics of an update, as `code place`.
fn said(update: &Update) -> Vec<String> {
    let show =
        |d: &Diagnostic| format!("{} {}", d.code, d.origin.as_ref().map_or_else(String::new, ToString::to_string));
    update.diagnostics.iter().flatten().map(show).collect()
}

mod pure {
    use super::*;

    fn place(root: usize, name: &str) -> Place {
        Place { root, shown: Path::new(name).into() }
    }

    fn found(folder: &mut Folder, files: &[(usize, &str, &str)]) -> Update {
        let found =
            files.iter().map(|(root, name, text)| (place(*root, name), Content::Bytes(text.as_bytes().to_vec())));
        folder.reconcile(Listing { found: found.collect(), ..Listing::default() })
    }

    fn gone(folder: &mut Folder, root: usize, name: &str) -> Update {
        folder.reconcile(Listing { gone: vec![place(root, name)], ..Listing::default() })
    }

    #[test]
    fn only_what_changed_is_told() {
        let mut folder = Folder::default();
        let (a, b) = (service("a", 1), service("b", 1));
        let first = found(&mut folder, &[(0, "m.yaml", &joined(&[a.clone(), b.clone()]))]);
        assert_eq!((applied(&first), first.listed, first.diagnostics), (vec!["a:1".into(), "b:1".into()], true, None));
        let same = found(&mut folder, &[(0, "m.yaml", &joined(&[a.clone(), b.clone()]))]);
        assert!(same.is_empty());

        let changed = found(&mut folder, &[(0, "m.yaml", &joined(&[a.clone(), service("b", 2)]))]);
        assert_eq!(applied(&changed), ["b:2"]);
        let less = found(&mut folder, &[(0, "m.yaml", &a)]);
        assert_eq!((applied(&less), deleted(&less)), (vec![], vec!["Service default/b".to_owned()]));
        let none = gone(&mut folder, 0, "m.yaml");
        assert_eq!(deleted(&none), ["Service default/a"]);
        assert!(gone(&mut folder, 0, "m.yaml").is_empty());
    }

    #[test]
    fn objects_below_a_change_know_their_new_lines() {
        let mut folder = Folder::default();
        found(&mut folder, &[(0, "m.yaml", &joined(&[service("a", 1), service("b", 1)]))]);
        let update = found(
            &mut folder,
            &[(0, "m.yaml", &format!("# one more line\n{}", joined(&[service("a", 1), service("b", 1)])))],
        );
        let lines: Vec<_> = update.applied.iter().map(|o| o.meta().origin.as_ref().unwrap().line).collect();
        assert_eq!(lines, [2, 10]);
    }

    #[test]
    fn a_broken_file_keeps_all_its_objects_until_it_is_mended() {
        let mut folder = Folder::default();
        let good = joined(&[service("a", 1), service("b", 1)]);
        found(&mut folder, &[(0, "m.yaml", &good)]);
        let broken = found(&mut folder, &[(0, "m.yaml", &format!("{}---\n[\n", service("a", 2)))]);
        assert_eq!((applied(&broken), deleted(&broken)), (vec![], vec![]));
        assert_eq!(said(&broken), ["NotYaml m.yaml:9"]);
        let mended = found(&mut folder, &[(0, "m.yaml", &joined(&[service("a", 3), service("b", 1)]))]);
        assert_eq!((applied(&mended), said(&mended)), (vec!["a:3".to_owned()], vec![]));
        assert_eq!(mended.diagnostics, Some(vec![]));
        // Back to what was good before: told, and no longer complained of.
        found(&mut folder, &[(0, "m.yaml", "[")]);
        let back = found(&mut folder, &[(0, "m.yaml", &good)]);
        assert_eq!((applied(&back), back.diagnostics), (vec!["a:1".to_owned()], Some(vec![])));
    }

    #[test]
    fn a_file_that_cannot_be_read_keeps_its_objects() {
        let mut folder = Folder::default();
        found(&mut folder, &[(0, "m.yaml", &service("a", 1))]);
        let bad = Content::Bytes(b"a: 1\nb: \xff\n".to_vec());
        let update = folder.reconcile(Listing { found: vec![(place(0, "m.yaml"), bad)], ..Listing::default() });
        assert_eq!((said(&update), deleted(&update)), (vec!["UnreadableFile m.yaml:2".to_owned()], vec![]));
        let denied = Content::Unreadable("Permission denied".to_owned());
        let update = folder.reconcile(Listing { found: vec![(place(0, "m.yaml"), denied)], ..Listing::default() });
        assert_eq!(said(&update), ["UnreadableFile m.yaml:1"]);
        // The same text as at first is news again, to whoever heard that the file can't be read.
        let update = found(&mut folder, &[(0, "m.yaml", &service("a", 1))]);
        assert_eq!((applied(&update), update.diagnostics), (vec![], Some(vec![])));
    }

    #[test]
    fn the_default_tlsoption_is_there_even_where_it_cannot_be_read() {
        let option = |name: &str, asked: &str| {
            let head = format!("apiVersion: traefik.io/v1alpha1\nkind: TLSOption\nmetadata: {{ name: {name} }}\n");
            format!("{head}spec: {{ clientAuth: {{ clientAuthType: {asked} }} }}\n")
        };
        let held = |update: &Update| match update.applied.as_slice() {
            [Object::TlsOption(option)] => Some((option.meta.name.to_string(), option.unreadable)),
            _ => None,
        };
        let mut folder = Folder::default();
        let wrong = joined(&[option("default", "RequireAndVerify"), option("other", "RequireAndVerify")]);
        let update = found(&mut folder, &[(0, "m.yaml", &wrong)]);
        assert_eq!((held(&update), said(&update).len()), (Some(("default".to_owned(), true)), 2));
        let good = option("default", "RequireAnyClientCert");
        assert_eq!(held(&found(&mut folder, &[(0, "m.yaml", &good)])), Some(("default".to_owned(), false)));
        let update = found(&mut folder, &[(0, "m.yaml", &wrong)]);
        assert!(update.applied.is_empty() && update.deleted.is_empty(), "its last good state stays");
        assert_eq!(deleted(&gone(&mut folder, 0, "m.yaml")), ["TLSOption default/default"]);
    }

    #[test]
    fn a_document_of_wrong_shape_keeps_its_own_last_state() {
        let mut folder = Folder::default();
        found(&mut folder, &[(0, "m.yaml", &joined(&[service("a", 1), service("b", 1)]))]);
        let wrong = service("a", 1).replace("port: 1", "port: many");
        let update = found(&mut folder, &[(0, "m.yaml", &joined(&[wrong.clone(), service("b", 2)]))]);
        assert_eq!((applied(&update), deleted(&update)), (vec!["b:2".to_owned()], vec![]));
        assert_eq!(said(&update), ["WrongShape m.yaml:7"]);
        // It is held through further changes of the file, and goes with its document.
        let update = found(&mut folder, &[(0, "m.yaml", &joined(&[wrong.clone(), service("b", 3)]))]);
        assert_eq!((applied(&update), deleted(&update), update.diagnostics), (vec!["b:3".to_owned()], vec![], None));
        let update = found(&mut folder, &[(0, "m.yaml", &service("b", 3))]);
        assert_eq!(deleted(&update), ["Service default/a"]);
        // Wrong from the start: there is no last state.
        let update = found(&mut folder, &[(0, "m.yaml", &joined(&[wrong, service("c", 1)]))]);
        assert_eq!(
            (applied(&update), deleted(&update)),
            (vec!["c:1".to_owned()], vec!["Service default/b".to_owned()])
        );
    }

    #[test]
    fn of_the_same_object_twice_the_first_counts_until_it_goes() {
        let mut folder = Folder::default();
        let update = found(
            &mut folder,
            &[(1, "a.yaml", &service("a", 3)), (0, "b.yaml", &service("a", 1)), (0, "c.yaml", &service("a", 2))],
        );
        assert_eq!(applied(&update), ["a:1"]);
        assert_eq!(said(&update), ["DuplicateObject c.yaml:1", "DuplicateObject a.yaml:1"]);
        let warning = &update.diagnostics.as_ref().unwrap()[0];
        assert_eq!(warning.severity, Severity::Warning);
        assert!(warning.message.contains("b.yaml:1"), "{warning}");

        // One that doesn't count may change without notice.
        let update = found(&mut folder, &[(1, "a.yaml", &service("a", 4))]);
        assert!(update.is_empty(), "{update:?}");
        let update = gone(&mut folder, 0, "b.yaml");
        assert_eq!((applied(&update), deleted(&update)), (vec!["a:2".to_owned()], vec![]));
        assert_eq!(said(&update), ["DuplicateObject a.yaml:1"]);
        let update = gone(&mut folder, 0, "c.yaml");
        assert_eq!((applied(&update), update.diagnostics), (vec!["a:4".to_owned()], Some(vec![])));
        // One that comes before takes over.
        let update = found(&mut folder, &[(0, "0.yaml", &service("a", 5))]);
        assert_eq!(applied(&update), ["a:5"]);
        assert_eq!(deleted(&gone(&mut folder, 0, "0.yaml")), Vec::<String>::new());
        assert_eq!(deleted(&gone(&mut folder, 1, "a.yaml")), ["Service default/a"]);
    }

    #[test]
    fn of_the_same_object_twice_in_a_file_the_first_line_counts() {
        let mut folder = Folder::default();
        let update = found(&mut folder, &[(0, "m.yaml", &joined(&[service("a", 1), service("a", 2)]))]);
        assert_eq!(
            (applied(&update), said(&update)),
            (vec!["a:1".to_owned()], vec!["DuplicateObject m.yaml:9".to_owned()])
        );
        let update = found(&mut folder, &[(0, "m.yaml", &service("a", 2))]);
        assert_eq!((applied(&update), update.diagnostics), (vec!["a:2".to_owned()], Some(vec![])));
    }

    #[test]
    fn an_object_that_moves_to_another_file_is_never_gone() {
        let mut folder = Folder::default();
        found(&mut folder, &[(0, "a.yaml", &service("a", 1))]);
        let found = vec![(place(0, "b.yaml"), Content::Bytes(service("a", 1).into_bytes()))];
        let update = folder.reconcile(Listing { found, gone: vec![place(0, "a.yaml")], problems: None });
        assert_eq!((applied(&update), deleted(&update)), (vec!["a:1".to_owned()], vec![]));
    }
}

mod disk {
    use super::*;

    struct Watched {
        dir: TempDir,
        _handle: Handle,
        updates: tokio_mpsc::Receiver<Update>,
        /// Everything told so far.
        now: std::collections::BTreeMap<ObjectId, Object>,
        said: Vec<Diagnostic>,
    }

    impl Watched {
        /// Watches `paths` inside a new directory, once `prepare` has filled it.
        fn start(paths: &[&str], prepare: impl FnOnce(&Path)) -> Self {
            let dir = tempfile::tempdir().unwrap();
            prepare(dir.path());
            let (sender, updates) = tokio_mpsc::channel(8);
            let handle = start(paths.iter().map(|p| dir.path().join(p)).collect(), sender).unwrap();
            let mut watched = Self { dir, _handle: handle, updates, now: Default::default(), said: Vec::new() };
            assert!(watched.next().listed);
            watched
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn next(&mut self) -> Update {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let next = async { tokio::time::timeout(Duration::from_secs(20), self.updates.recv()).await };
            let update = runtime.block_on(next).expect("an update in time").expect("the thread runs");
            for object in &update.applied {
                self.now.insert(object.id(), object.clone());
            }
            for id in &update.deleted {
                assert!(self.now.remove(id).is_some(), "{id} was not there");
            }
            if let Some(said) = &update.diagnostics {
                self.said.clone_from(said);
            }
            update
        }

        fn services(&self) -> Vec<String> {
            applied(&Update { applied: self.now.values().cloned().collect(), ..Update::default() })
        }

        /// Waits for a state.
        fn until(&mut self, services: &[&str]) {
            while self.services() != services {
                self.next();
            }
        }
    }

    #[test]
    fn files_come_change_and_go() {
        let mut w = Watched::start(&["m"], |dir| {
            fs::create_dir_all(dir.join("m/deep")).unwrap();
            fs::write(dir.join("m/a.yaml"), service("a", 1)).unwrap();
            fs::write(dir.join("m/deep/b.yml"), service("b", 1)).unwrap();
            fs::write(dir.join("m/c.json"), r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"c"}}"#).unwrap();
            fs::write(dir.join("m/d.txt"), service("d", 1)).unwrap();
            fs::write(dir.join("m/.e.yaml"), service("e", 1)).unwrap();
            symlink("nowhere", dir.join("m/f.yaml")).unwrap();
            symlink(".", dir.join("m/circle")).unwrap();
        });
        w.until(&["a:1", "b:1", "c:0"]);
        assert_eq!(w.said, []);
        fs::write(w.path("m/a.yaml"), service("a", 2)).unwrap();
        w.until(&["a:2", "b:1", "c:0"]);
        fs::write(w.path("m/new.yaml"), service("n1", 1)).unwrap();
        w.until(&["a:2", "b:1", "c:0", "n1:1"]);
        fs::create_dir(w.path("m/more")).unwrap();
        fs::write(w.path("m/more/x.yaml"), service("x", 1)).unwrap();
        w.until(&["a:2", "b:1", "c:0", "n1:1", "x:1"]);
        fs::remove_dir_all(w.path("m/more")).unwrap();
        fs::remove_file(w.path("m/new.yaml")).unwrap();
        fs::remove_file(w.path("m/c.json")).unwrap();
        w.until(&["a:2", "b:1"]);
        fs::rename(w.path("m/deep"), w.path("elsewhere")).unwrap();
        w.until(&["a:2"]);
    }

    #[test]
    fn an_atomic_rename_is_seen_in_a_directory_and_for_a_named_file() {
        let mut w = Watched::start(&["m", "single.conf"], |dir| {
            fs::create_dir(dir.join("m")).unwrap();
            fs::write(dir.join("m/a.yaml"), service("a", 1)).unwrap();
            fs::write(dir.join("single.conf"), service("s", 1)).unwrap();
        });
        w.until(&["a:1", "s:1"]);
        for port in 2..5 {
            for name in ["m/a.yaml", "single.conf"] {
                let text = service(if name == "single.conf" { "s" } else { "a" }, port);
                fs::write(w.path("m/.tmp"), text).unwrap();
                fs::rename(w.path("m/.tmp"), w.path(name)).unwrap();
            }
            w.until(&[&format!("a:{port}"), &format!("s:{port}")]);
        }
        fs::remove_file(w.path("single.conf")).unwrap();
        w.until(&["a:4"]);
        fs::write(w.path("single.conf"), service("s", 9)).unwrap();
        w.until(&["a:4", "s:9"]);
    }

    #[test]
    fn a_mounted_config_map_is_followed_through_its_links() {
        let version = |dir: &Path, name: &str, port: u16| {
            fs::create_dir(dir.join(name)).unwrap();
            fs::write(dir.join(name).join("a.yaml"), service("a", port)).unwrap();
        };
        let mut w = Watched::start(&["m"], |dir| {
            let dir = dir.join("m");
            fs::create_dir(&dir).unwrap();
            version(&dir, "..2026_1", 1);
            symlink("..2026_1", dir.join("..data")).unwrap();
            symlink("..data/a.yaml", dir.join("a.yaml")).unwrap();
        });
        w.until(&["a:1"]);
        assert_eq!(w.said, [], "the file behind the link is no second one");
        for port in 2..5 {
            let (old, new) = (format!("..2026_{}", port - 1), format!("..2026_{port}"));
            version(&w.path("m"), &new, port);
            symlink(&new, w.path("m/..data_tmp")).unwrap();
            fs::rename(w.path("m/..data_tmp"), w.path("m/..data")).unwrap();
            fs::remove_dir_all(w.path("m").join(old)).unwrap();
            w.until(&[&format!("a:{port}")]);
        }
    }

    #[test]
    fn a_directory_that_is_a_link_can_be_swapped() {
        let mut w = Watched::start(&["current"], |dir| {
            for (name, port) in [("one", 1), ("two", 2)] {
                fs::create_dir(dir.join(name)).unwrap();
                fs::write(dir.join(name).join("a.yaml"), service("a", port)).unwrap();
            }
            symlink("one", dir.join("current")).unwrap();
        });
        w.until(&["a:1"]);
        symlink("two", w.path("next")).unwrap();
        fs::rename(w.path("next"), w.path("current")).unwrap();
        w.until(&["a:2"]);
        // The new directory is watched as the old one was.
        fs::write(w.path("two/a.yaml"), service("a", 3)).unwrap();
        w.until(&["a:3"]);
    }

    #[test]
    fn a_directory_that_is_lost_keeps_its_objects() {
        let mut w = Watched::start(&["m"], |dir| {
            fs::create_dir(dir.join("m")).unwrap();
            fs::write(dir.join("m/a.yaml"), service("a", 1)).unwrap();
        });
        fs::rename(w.path("m"), w.path("away")).unwrap();
        while w.said.is_empty() {
            w.next();
        }
        assert_eq!((w.services(), w.said[0].code), (vec!["a:1".to_owned()], "UnreadableDirectory"));
        fs::create_dir(w.path("m")).unwrap();
        fs::write(w.path("m/a.yaml"), service("a", 2)).unwrap();
        w.until(&["a:2"]);
        while !w.said.is_empty() {
            w.next();
        }
    }

    #[test]
    fn a_file_that_is_being_written_is_waited_for() {
        use std::io::Write as _;
        let mut w = Watched::start(&["m"], |dir| {
            fs::create_dir(dir.join("m")).unwrap();
            fs::write(dir.join("m/a.yaml"), joined(&[service("a", 1), service("b", 1)])).unwrap();
        });
        let mut file = fs::File::create(w.path("m/a.yaml")).unwrap();
        file.write_all(service("a", 2).as_bytes()).unwrap();
        file.flush().unwrap();
        file.write_all(b"---\n").unwrap();
        file.write_all(service("b", 2).as_bytes()).unwrap();
        drop(file);
        let update = w.next();
        assert_eq!((applied(&update), deleted(&update)), (vec!["a:2".to_owned(), "b:2".to_owned()], vec![]));
    }

    #[test]
    fn rewrites_of_the_same_length_are_seen() {
        let mut w = Watched::start(&["m"], |dir| {
            fs::create_dir(dir.join("m")).unwrap();
            fs::write(dir.join("m/a.yaml"), service("a", 10)).unwrap();
        });
        for port in 11..31 {
            fs::write(w.path("m/a.yaml"), service("a", port)).unwrap();
            w.until(&[&format!("a:{port}")]);
        }
    }

    #[test]
    fn what_cannot_be_read_is_said_for_people() {
        let dir = tempfile::tempdir().unwrap();
        let error = read_once(&[dir.path().join("none")]).unwrap_err();
        assert!(error.to_string().ends_with("none: there is no such file or directory"), "{error}");
        let huge = dir.path().join("huge.yaml");
        fs::File::create(&huge).unwrap().set_len((64 << 20) + 1).unwrap();
        fs::write(dir.path().join("ok.yaml"), service("a", 1)).unwrap();
        let (objects, diagnostics) = read_once(&[dir.path().to_owned()]).unwrap();
        assert_eq!(objects.len(), 1);
        assert_eq!((diagnostics.len(), diagnostics[0].code), (1, "UnreadableFile"));
        assert!(diagnostics[0].message.contains("larger than 64 MiB"), "{}", diagnostics[0]);
    }

    #[test]
    fn what_is_no_file_is_read_once_but_not_watched() {
        let null = PathBuf::from("/dev/null");
        assert_eq!(read_once(std::slice::from_ref(&null)).unwrap(), (vec![], vec![]));
        let error = start(vec![null], tokio_mpsc::channel(1).0).unwrap_err();
        assert!(matches!(error, SourceError::Special { .. }), "{error}");
    }

    #[test]
    fn a_file_given_twice_is_read_once_and_one_given_by_name_whatever_it_is_called() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a.yaml"), dir.path().join("b.txt"));
        fs::write(&a, service("a", 1)).unwrap();
        fs::write(&b, service("b", 1)).unwrap();
        let (objects, diagnostics) = read_once(&[a, dir.path().to_owned(), b]).unwrap();
        assert_eq!(objects.iter().map(|o| o.id().kind).collect::<Vec<_>>(), [Kind::Service; 2]);
        assert_eq!(diagnostics, []);
    }

    #[test]
    fn dropping_the_handle_ends_the_thread() {
        let mut w = Watched::start(&["."], |_| {});
        let Watched { _handle, updates, .. } = &mut w;
        drop(std::mem::replace(_handle, Handle { stop: mpsc::channel().0 }));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let end = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), updates.recv()).await });
        assert!(matches!(end, Ok(None)));
    }
}
