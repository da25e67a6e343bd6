//! What lies among the pictures and is none, or is called like none: it is read, said or asked
//! about, in folders and in archives.

use std::fs;

use serde_json::json;

use crate::{
    layouts::{classes, remarks, train, write},
    support::{pictures, quick_with, run},
    unclear::{folders, label, list, png, put, remarked, train_on},
};

#[test]
fn second_names_of_files_in_a_tar_have_their_content() {
    let root = tempfile::tempdir().unwrap();
    let file = |path: &str, bytes: &[u8], link: Option<&str>, tar: &mut tar::Builder<fs::File>| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(if link.is_some() { 0 } else { bytes.len() as u64 });
        match link {
            Some(target) => {
                header.set_entry_type(if target.starts_with("link:") {
                    tar::EntryType::Symlink
                } else {
                    tar::EntryType::Link
                });
                tar.append_link(&mut header, path, target.trim_start_matches("link:")).unwrap();
            }
            None => tar.append_data(&mut header, path, bytes).unwrap(),
        }
    };
    for (kind, said) in [("", "contradicting labels: 6"), ("link:", "links in archives are not")] {
        let name = if kind.is_empty() { "hard.tar" } else { "soft.tar" };
        let mut tar = tar::Builder::new(fs::File::create(root.path().join(name)).unwrap());
        for n in 0..12 {
            file(&format!("{}/{n}.png", label(n)), &png(n), None, &mut tar);
        }
        for n in 0..6 {
            let target = format!("{kind}{}/{n}.png", label(n));
            file(&format!("owl/{n}.png"), &[], Some(&target), &mut tar);
        }
        tar.finish().unwrap();
        let answer = remarked(train_on(root.path(), name, &[]), &[said]);
        let all: &[&str] = if kind.is_empty() { &["cat", "dog", "owl"] } else { &["cat", "dog"] };
        assert_eq!(classes(&answer), all);
    }
}

#[test]
fn folders_that_are_called_like_no_class_are_remarked() {
    for names in [
        &["cat", "dog", "unlabelled_test"][..],
        &["cat", "dog", "final_test"],
        &["cat", "dog", "to_predict"],
        &["cat", "dog", "not sorted"],
        &["cat", "dog", "Neuer Ordner"],
    ] {
        let said = [names[2], "rarely that of a class"];
        remarked(train(folders(names).path(), &[]), &said);
    }
    for names in [
        &["2021-05-01", "2021-05-02"][..],
        &["01.05.2021", "02.05.2021"],
        &["Monday", "Tuesday", "Friday"],
        &["May 2021", "June 2021"],
        &["subject_A", "subject_B"],
        &["site I", "site II"],
    ] {
        remarked(train(folders(names).path(), &[]), &[names[0], "days, sessions, persons"]);
    }
    for names in [["cat", "Copy of cat"], ["cat", "cat - Kopie"], ["cat", "cat_val"]] {
        remarked(train(folders(&names).path(), &[]), &["almost the same"]);
    }
    // Real classes stay without a remark, even if a word of theirs is such a one.
    for names in [&["rock", "paper"][..], &["May bug", "June bug"], &["May day", "Site manager"]] {
        assert_eq!(remarks(&train(folders(names).path(), &[]).expect(0).json()), "", "{names:?}");
    }
    for bin in ["#recycle", "@Recycle", "RECYCLER", "#snapshot"] {
        let answer = train(folders(&["cat", "dog", bin]).path(), &[]).expect(0).json();
        assert_eq!(classes(&answer), ["cat", "dog"], "{bin}");
    }
}

#[test]
fn masks_beside_their_pictures_are_no_classes() {
    for names in [
        ["JPEGImages", "SegmentationClass"],
        ["leftImg8bit", "gtFine"],
        ["ISIC2018_Training_Input", "ISIC2018_Training_GroundTruth"],
    ] {
        let root = folders(&names);
        train(root.path(), &[]).complains(2, &["masks or depths", names[1], "--layout"]);
        let answer = train(root.path(), &["--layout", "classes"]).expect(0).json();
        assert_eq!(classes(&answer).len(), 2);
    }
}

#[test]
fn other_files_in_folders_are_counted_and_foreign_pictures_named() {
    let root = folders(&["cat", "dog"]);
    let data = root.path().join("data");
    for name in ["README.md", "README.pdf"] {
        fs::write(data.join(name), "notes").unwrap();
    }
    assert_eq!(remarks(&train(root.path(), &[]).expect(0).json()), "");
    for name in ["cat/a.npy", "dog/b.mp4", "dog/c.txt"] {
        fs::write(data.join(name), "no picture").unwrap();
    }
    remarked(train(root.path(), &[]), &["3 file(s) among the pictures, such as 'cat/a.npy'"]);
    for name in ["cat/x.HIF", "cat/y.jpf"] {
        fs::write(data.join(name), "some bytes").unwrap();
    }
    let answer = train(root.path(), &[]).expect(3).json();
    assert_eq!(answer["unreadable"].as_array().unwrap().len(), 2, "{answer}");
}

#[test]
fn figures_that_taper_drew_are_no_pictures() {
    let folder = pictures();
    let here = folder.path();
    run(here, &quick_with(&["--out", "run"])).expect(0);
    for name in ["reliability.png", "confusion.png", "curves.png"] {
        fs::copy(here.join("run").join(name), here.join("data/train/blue").join(name)).unwrap();
    }
    let answer = run(here, &quick_with(&["--out", "again", "--json"])).expect(0).json();
    assert_eq!(answer["pictures"], json!([24, 8, 10]));
}

#[test]
fn lines_are_counted_as_an_editor_does() {
    for end in ["\n", "\r\n"] {
        let root = list(["a/", "b/"], "path,label", |path, n| {
            if n == 2 { format!("{path},") } else { format!("{path},{}", label(n)) }
        });
        let file = root.path().join("data/list.csv");
        let text = fs::read_to_string(&file).unwrap().replace('\n', end);
        fs::write(&file, text).unwrap();
        train_on(root.path(), "data/list.csv", &[]).complains(1, &["line 4", "a/2.png"]);
    }
    for (text, words) in [
        ("0.png 0 1\n1.png 1\n", &["line 1", "'0 1'", "multi-label"][..]),
        ("0.png,cat\n1.png,dog\n", &["line 1", "no path and label"]),
    ] {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "0.png", 0);
        fs::write(root.path().join("data/list.txt"), text).unwrap();
        train_on(root.path(), "data/list.txt", &[]).complains(1, words);
    }
}

#[test]
fn names_in_two_unicode_forms_are_the_same_files() {
    let root = list(["\u{e4}/", "\u{f6}/"], "path,label", |path, n| {
        let decomposed = path.replace('\u{e4}', "a\u{308}").replace('\u{f6}', "o\u{308}");
        format!("{decomposed},{}", label(n))
    });
    remarked(train_on(root.path(), "data/list.csv", &[]), &["18 path(s)", "Unicode form"]);
    // And classes in another spelling than the model's.
    let folder = pictures();
    let here = folder.path();
    run(here, &quick_with(&["--out", "run"])).expect(0);
    for (class, name) in [("blue", "Blue"), ("red", "RED")] {
        write(&here.join("other").join(name), class, 0, 3);
    }
    let evaluate = ["evaluate", "run", "--data", "other", "--json"];
    let answer = run(here, &evaluate).expect(0).json();
    assert!(answer["remarks"].to_string().contains("'Blue' as 'blue'"), "{answer}");
}

#[test]
fn a_table_of_test_pictures_alone_is_remarked() {
    for name in ["test.csv", "test_labels.csv", "val.csv"] {
        let root = list(["a/", "b/"], "path,label", |path, n| format!("{path},{}", label(n)));
        let data = root.path().join("data");
        fs::rename(data.join("list.csv"), data.join(name)).unwrap();
        let said = ["there is nothing else than", name];
        remarked(train_on(root.path(), &format!("data/{name}"), &[]), &said);
    }
}

#[test]
fn pictures_of_test_in_a_folder_that_is_no_class_have_no_labels() {
    for name in ["all", "Unknown", "dummy"] {
        let root = folders(&["train/cat", "train/dog", &format!("test/{name}")]);
        let answer = remarked(train(root.path(), &[]), &["taper predict MODEL", "left out"]);
        assert_eq!((classes(&answer), &answer["pictures"][2]), (vec!["cat", "dog"], &0.into()));
    }
    let root = folders(&["train/cat", "train/dog", "test/cats"]);
    train(root.path(), &[]).complains(1, &["'cats'", "test"]);
}

#[test]
fn archives_with_the_ending_of_another_kind_are_called_what_they_are() {
    let root = pictures();
    crate::support::zip(&root.path().join("data"), &root.path().join("data.tar"));
    train_on(root.path(), "data.tar", &[]).complains(1, &["a zip archive", ".zip"]);
    fs::rename(root.path().join("data.tar"), root.path().join("a.zip")).unwrap();
    train_on(root.path(), "a.zip", &[]).expect(0);
}
