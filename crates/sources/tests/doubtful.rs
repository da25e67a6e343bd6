//! Data sets that hide something: nothing is guessed in silence.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use taper_core::Split;
use taper_data::{Dataset, fixture};
use taper_sources::{
    Error, FolderUse, LayoutChoice, Reading, Result, SourceOptions, open_archive, open_manifest,
    open_path,
};
use tempfile::TempDir;

fn jpeg(n: usize) -> Vec<u8> {
    fixture::jpeg(&fixture::picture(n % 3, n, 24, 20)).unwrap()
}

/// A folder with these files: pictures, or else empty ones.
fn folder(paths: &[&str]) -> TempDir {
    let root = TempDir::new().unwrap();
    for (n, path) in paths.iter().enumerate() {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let picture = path.extension().is_some_and(|ending| ending == "jpg");
        fs::write(path, if picture { jpeg(n) } else { b"notes\n".into() }).unwrap();
    }
    root
}

fn open(root: &Path, layout: LayoutChoice) -> Result<Dataset> {
    let mut options = SourceOptions::default();
    options.layout = layout;
    open_path(root, Reading::new(FolderUse::Train, options))
}

fn read(paths: &[&str]) -> Result<Dataset> {
    open(folder(paths).path(), LayoutChoice::Auto)
}

fn classes(dataset: &Dataset) -> Vec<&str> {
    dataset.classes().iter().collect()
}

#[track_caller]
fn remarks(dataset: &Dataset, words: &[&str]) {
    let remarks = dataset.remarks().join("\n");
    for word in words {
        assert!(remarks.contains(word), "'{word}' is missing: {remarks}");
    }
}

#[test]
fn a_folder_with_the_same_classes_among_them_is_not_a_class() {
    for extra in ["augmented", "new", "data/deeper", "Extra", "photos/v2"] {
        let more = ["cat", "Dog "].map(|class| format!("{extra}/{class}/3.jpg"));
        let paths = ["cat/1.jpg", "dog/2.jpg", &more[0], &more[1]];
        let error = read(&paths).unwrap_err();
        let top = extra.split('/').next().unwrap();
        assert!(matches!(error, Error::Ambiguous { .. }), "{error}");
        assert!(error.to_string().contains(&format!("'{top}' contains")), "{error}");
        let root = folder(&paths);
        let dataset = open(root.path(), LayoutChoice::Classes).unwrap();
        assert_eq!(dataset.classes().len(), 3);
        // The same within a split, where there are pictures of its own too.
        let inner: Vec<String> = paths.iter().map(|path| format!("train/{path}")).collect();
        let mut inner: Vec<&str> = inner.iter().map(String::as_str).collect();
        let own = format!("train/{top}/own.jpg");
        inner.extend([&*own, "test/cat/8.jpg", "test/dog/9.jpg"]);
        let error = read(&inner).unwrap_err();
        assert!(error.to_string().contains(&format!("'train/{top}' contains")), "{error}");
    }
    // One such folder may be a coincidence.
    let dataset = read(&["cat/1.jpg", "dog/2.jpg", "wild/cat/3.jpg"]).unwrap();
    remarks(&dataset, &["'wild': taken as a class, although"]);
}

#[test]
fn folders_that_are_merged_into_a_class_are_remarked() {
    let dataset = read(&["data/cat/1.jpg", "data/dog/2.jpg", "shoot one/3.jpg"]).unwrap();
    remarks(&dataset, &["'cat', 'dog' in 'data'", "'shoot one' beside it has pictures"]);
    let paths = ["animals/cat/1.jpg", "animals/dog/2.jpg", "things/cup/3.jpg", "things/pen/4.jpg"];
    remarks(&read(&paths).unwrap(), &["'cat', 'dog' in 'animals', and those in 1 more"]);
    // Sessions and packaging are no classes.
    for paths in [
        ["cat/2021-05/1.jpg", "cat/2021-06/2.jpg", "dog/2021-07/3.jpg"],
        ["n01/images/1.jpg", "n01/images/2.jpg", "n02/images/3.jpg"],
        ["cat/s1/1.jpg", "cat/s2/2.jpg", "dog/s3/3.jpg"],
    ] {
        let dataset = read(&paths).unwrap();
        assert!(dataset.remarks().is_empty(), "{:?}", dataset.remarks());
    }
}

#[test]
fn a_data_set_beside_samples_is_one_folder_deeper() {
    for (paths, inner) in [
        (["data/cat/1.jpg", "data/dog/2.jpg", "samples/3.jpg"], "data"),
        (["dataset/cat/1.jpg", "dataset/dog/2.jpg", "docs/3.jpg"], "dataset"),
        (["input/cat/1.jpg", "input/dog/2.jpg", "results/3.jpg"], "input"),
    ] {
        let error = read(&paths).unwrap_err();
        assert!(matches!(&error, Error::OneDeeper { inner: found, .. } if found.ends_with(inner)));
    }
    let error = read(&["input/1.jpg", "output/2.jpg"]).unwrap_err();
    assert!(matches!(error, Error::Ambiguous { .. }), "{error}");
}

#[test]
fn parts_of_one_set_are_hardly_classes() {
    for [a, b] in [["images_part_1", "images_part_2"], ["batch1", "batch2"], ["img-00", "img-01"]] {
        let dataset = read(&[&format!("{a}/1.jpg"), &format!("{b}/2.jpg")]).unwrap();
        remarks(&dataset, &["called like parts of one set", a, b]);
    }
    for [a, b] in [["class1", "class2"], ["type 1", "type 2"], ["0", "1"], ["n01", "n02"]] {
        let dataset = read(&[&format!("{a}/1.jpg"), &format!("{b}/2.jpg")]).unwrap();
        assert!(dataset.remarks().is_empty(), "{:?}", dataset.remarks());
    }
}

#[test]
fn a_data_set_in_folders_of_the_same_name_beside_another_is_found() {
    let deep = ["a/a/train/x/1.jpg", "a/a/train/y/2.jpg", "a/a/test/x/3.jpg", "b/b/x/4.jpg"];
    let error = read(&deep).unwrap_err();
    assert!(error.to_string().contains("a/a"), "{error}");
    assert!(matches!(error, Error::OneDeeper { .. }), "{error}");
    let deep = ["a/a/cat/1.jpg", "a/a/dog/2.jpg", "b/b/cup/3.jpg", "b/b/pen/4.jpg"];
    remarks(&read(&deep).unwrap(), &["'cat', 'dog' in 'a', and those in 1 more are merged"]);
}

#[test]
fn names_that_are_almost_the_same_are_remarked() {
    for [a, b] in [
        ["cat", "cat (1)"],
        ["cat", "cat - Copy"],
        ["cat", "cats"],
        ["golden retriever", "golden_retriever"],
        ["cat", "cat_augmented"],
        ["cat", "Cat2"],
        ["1", "1.0"],
    ] {
        let dataset = read(&[&format!("{a}/1.jpg"), &format!("{b}/2.jpg"), "dog/3.jpg"]).unwrap();
        assert_eq!(dataset.classes().len(), 3);
        remarks(&dataset, &["almost the same", a, b]);
    }
    for [a, b] in
        [["old car", "new car"], ["C", "C++"], ["mask", "no_mask"], ["Apple 1", "Apple 2"]]
    {
        let dataset = read(&[&format!("{a}/1.jpg"), &format!("{b}/2.jpg"), "dog/3.jpg"]).unwrap();
        assert!(!dataset.remarks().join("").contains("almost"), "{:?}", dataset.remarks());
    }
}

#[test]
fn names_made_of_other_classes_are_remarked() {
    for name in ["cat_dog", "cat-dog", "cat and dog", "cat+dog", "cat, dog"] {
        let dataset = read(&["cat/1.jpg", "dog/2.jpg", &format!("{name}/3.jpg")]).unwrap();
        assert_eq!(dataset.classes().len(), 3);
        remarks(&dataset, &[&format!("'{name}' is made of the names of other classes")]);
    }
    let dataset = read(&["hot dog/1.jpg", "dog/2.jpg", "cat/3.jpg"]).unwrap();
    assert!(dataset.remarks().is_empty(), "{:?}", dataset.remarks());
}

#[test]
fn names_that_are_hardly_classes_are_passed_over_or_remarked() {
    for name in ["unlabeled", "Unlabelled", "_unsure", "thumbnails", "unlabeled_images", "unsup"] {
        let paths = ["cat/1.jpg", "dog/2.jpg", &format!("{name}/3.jpg")];
        let dataset = read(&paths).unwrap();
        assert_eq!(classes(&dataset), ["cat", "dog"], "{name}");
        remarks(&dataset, &[&format!("'{name}' is no class"), "taper predict MODEL"]);
        let root = folder(&paths);
        assert_eq!(open(root.path(), LayoutChoice::Classes).unwrap().classes().len(), 3);
        let inner = paths.map(|path| format!("train/{path}"));
        let paths = [&*inner[0], &*inner[1], &*inner[2], "test/cat/4.jpg", "test/dog/5.jpg"];
        let dataset = read(&paths).unwrap();
        assert_eq!(classes(&dataset), ["cat", "dog"], "{name}");
        remarks(&dataset, &[&format!("'train/{name}' is no class")]);
    }
    for name in ["thumbs", "augmented", "old", "new data", "masks", "rejected", "samples"] {
        let dataset = read(&["cat/1.jpg", "dog/2.jpg", &format!("{name}/3.jpg")]).unwrap();
        assert_eq!(dataset.classes().len(), 3);
        remarks(&dataset, &[&format!("'{name}' is used as a class"), "rename it or move it away"]);
    }
    for name in [".cache", "__MACOSX", "@eaDir"] {
        let dataset = read(&["cat/1.jpg", "dog/2.jpg", &format!("{name}/3.jpg")]).unwrap();
        assert_eq!(classes(&dataset), ["cat", "dog"], "{name}");
    }
    // Where hardly any class would be left, it is one.
    let dataset = read(&["labelled/1.jpg", "unlabelled/2.jpg"]).unwrap();
    assert_eq!(classes(&dataset), ["labelled", "unlabelled"]);
    remarks(&dataset, &["'unlabelled' is used as a class"]);
}

#[test]
fn masks_and_thumbnails_in_a_class_are_remarked() {
    for name in ["masks", "thumbs", "rejected", "ground_truth", "augmented"] {
        let dataset = read(&["cat/1.jpg", &format!("cat/{name}/2.jpg"), "dog/3.jpg"]).unwrap();
        remarks(&dataset, &[&format!("'cat/{name}': the pictures count as those")]);
    }
}

#[test]
fn a_folder_that_is_left_out_says_how_to_use_it() {
    let dataset = read(&["train/cat/1.jpg", "train/dog/2.jpg", "test/cat/3.jpg", "more/4.jpg"]);
    remarks(
        &dataset.unwrap(),
        &["'more' beside the split folders", "taper predict MODEL", "write"],
    );
}

#[test]
fn files_that_list_splits_are_remarked() {
    let classes = ["images/cat/1.jpg", "images/dog/2.jpg"];
    for name in ["train_test_split.txt", "meta/test.txt", "meta/train.json", "splits/one.mat"] {
        let dataset = read(&[classes[0], classes[1], name]).unwrap();
        remarks(&dataset, &[&format!("'{name}'"), "not read", "CSV"]);
        let zip = zip_of(&[classes[0], classes[1], name]);
        remarks(&open_archive(zip.path(), FolderUse::Train).unwrap(), &[name, "not read"]);
    }
    let dataset = read(&[classes[0], classes[1], "readme.txt", "classes.txt"]).unwrap();
    assert!(dataset.remarks().is_empty(), "{:?}", dataset.remarks());
    // Where folders say the splits, nothing is drawn.
    let dataset = read(&["train/cat/1.jpg", "train/dog/2.jpg", "test/cat/3.jpg", "test.txt"]);
    assert!(!dataset.unwrap().remarks().join("").contains("test.txt"));
}

fn zip_of(paths: &[&str]) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().suffix(".zip").tempfile().unwrap();
    let mut zip = zip::ZipWriter::new(file.reopen().unwrap());
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (n, path) in paths.iter().enumerate() {
        zip.start_file(*path, options).unwrap();
        let picture = path.ends_with(".jpg");
        zip.write_all(&if picture { jpeg(n) } else { b"notes\n".into() }).unwrap();
    }
    zip.finish().unwrap();
    file
}

#[test]
fn archives_within_archives_are_remarked() {
    for name in ["more.zip", "dog/rest.tar.gz", "x.parquet"] {
        let zip = zip_of(&["cat/1.jpg", "dog/2.jpg", name]);
        let dataset = open_archive(zip.path(), FolderUse::Train).unwrap();
        remarks(&dataset, &[&format!("'{name}'"), "not read"]);
    }
    let zip = zip_of(&["train.zip", "test.zip"]);
    let error = open_archive(zip.path(), FolderUse::Train).unwrap_err();
    assert!(matches!(error, Error::Mixed { .. }), "{error}");
}

#[test]
fn names_that_look_alike_or_mean_no_label_are_remarked() {
    let dataset = read(&["\u{fb01}sh/1.jpg", "fish/2.jpg", "dog/3.jpg"]).unwrap();
    assert_eq!(dataset.classes().len(), 3);
    remarks(&dataset, &["NFKC", "\\u{fb01}", "2 classes"]);
    for [a, b] in [["\u{ff21}bc", "abc"], ["\u{200d}cat", "cat"], ["x\u{fe0f}y", "xy"]] {
        let dataset = read(&[&format!("{a}/1.jpg"), &format!("{b}/2.jpg")]).unwrap();
        remarks(&dataset, &["NFKC", "\\u{"]);
    }
    for name in ["NA", "nan", "null", "<NA>"] {
        let dataset = read(&["cat/1.jpg", "dog/2.jpg", &format!("{name}/3.jpg")]).unwrap();
        remarks(&dataset, &[&format!("'{name}' is used as a class, with 1 picture(s)")]);
    }
    let dataset = read(&["ca\nt/1.jpg", "dog/2.jpg"]).unwrap();
    remarks(&dataset, &["ca\\nt", "control characters"]);
}

/// A list with these rows beside twelve pictures `a/00.jpg`, …, `b/05.jpg`.
fn list(text: &str) -> (TempDir, PathBuf) {
    let root = TempDir::new().unwrap();
    for (n, class) in ["a", "b"].into_iter().enumerate() {
        fs::create_dir(root.path().join(class)).unwrap();
        for i in 0..6 {
            fs::write(root.path().join(format!("{class}/{i:02}.jpg")), jpeg(n + i)).unwrap();
        }
    }
    let path = root.path().join("list.csv");
    fs::write(&path, text).unwrap();
    (root, path)
}

/// The list with these columns behind those of path and label.
fn with_columns(names: &str, values: [&str; 4]) -> Result<Dataset> {
    let [a, b, c, d] = values;
    let text = format!(
        "path,label{names}\na/00.jpg,x,{a}\na/01.jpg,y,{b}\nb/00.jpg,x,{c}\nb/01.jpg,y,{d}\n"
    );
    open_manifest(list(&text).1, FolderUse::Train)
}

fn counts(dataset: &Dataset) -> [usize; 3] {
    [Split::Train, Split::Val, Split::Test].map(|split| dataset.indices(Some(split)).len())
}

#[test]
fn columns_of_truth_values_say_the_splits() {
    for (names, values, expected) in [
        (",is_train", ["1", "1", "0", "1"], [3, 0, 1]),
        (",train", ["True", "True", "False", "True"], [3, 0, 1]),
        (",is_test", ["0", "0", "1", "0"], [3, 0, 1]),
        (",test", ["false", "false", "true", "false"], [3, 0, 1]),
        (",is_valid", ["no", "no", "yes", "no"], [3, 1, 0]),
        (",is_train,is_test", ["1,0", "1,0", "0,1", "0,0"], [2, 1, 1]),
    ] {
        let dataset = with_columns(names, values).unwrap();
        assert_eq!(counts(&dataset), expected, "{names}");
        remarks(&dataset, &["the splits are taken from"]);
    }
    let error = with_columns(",train,test", ["1,0", "1,0", "1,1", "1,0"]).unwrap_err();
    assert!(error.to_string().contains("line 4"), "{error}");
    let error = with_columns(",is_train", ["1", "1", "", "0"]).unwrap_err();
    assert!(error.to_string().contains("line 4"), "{error}");
    // Most pictures are valid ones.
    for names in [",valid", ",is_valid"] {
        let dataset = with_columns(names, ["1", "1", "0", "1"]).unwrap();
        assert_eq!(counts(&dataset), [0; 3], "{names}");
        remarks(&dataset, &["looks like splits, but is not used"]);
    }
}

#[test]
fn columns_that_may_say_the_splits_are_remarked() {
    for (name, values) in [
        ("fold", ["0", "1", "2", "0"]),
        ("kfold", ["0", "1", "2", "0"]),
        ("stage", ["tr", "tr", "te", "va"]),
        ("phase", ["A", "A", "B", "B"]),
        ("data split", ["1", "1", "2", "3"]),
    ] {
        let dataset = with_columns(&format!(",{name}"), values).unwrap();
        assert_eq!(counts(&dataset), [0; 3], "{name}");
        remarks(&dataset, &[&format!("the column '{name}' looks like splits"), "`split_column`"]);
    }
    let dataset = with_columns(",fold,mode", ["0,a", "1,b", "0,a", "1,a"]).unwrap();
    remarks(&dataset, &["the columns 'fold', 'mode' look like splits, but are not used"]);
    // What is left of the words is understood where it is asked for.
    let text = "path,label,stage\na/00.jpg,x,tr\na/01.jpg,y,tr\nb/00.jpg,x,te\nb/01.jpg,y,va\n";
    let mut options = SourceOptions::default();
    options.split_column = Some("stage".into());
    let (_root, path) = list(text);
    let dataset = open_manifest(path, Reading::new(FolderUse::Train, options)).unwrap();
    assert_eq!(counts(&dataset), [2, 1, 1]);
    // It is not the label either.
    let text = "path,kfold\na/00.jpg,0\na/01.jpg,1\nb/00.jpg,0\nb/01.jpg,1\n";
    let error = open_manifest(list(text).1, FolderUse::Train).unwrap_err();
    assert!(error.to_string().contains("`label_column`"), "{error}");
}

#[test]
fn combinations_of_labels_are_refused_as_several() {
    for labels in [
        ["scab", "rust", "scab rust", "rust"],
        ["1 3", "1", "3", "2"],
        ["a+b", "a", "b", "c"],
        ["['a' 'b']", "['a']", "['b']", "['a']"],
    ] {
        for column in ["label", "labels", "tags", "Finding Labels"] {
            let [a, b, c, d] = labels;
            let text =
                format!("path,{column}\na/00.jpg,{a}\na/01.jpg,{b}\nb/00.jpg,{c}\nb/01.jpg,{d}\n");
            let error = open_manifest(list(&text).1, FolderUse::Train).unwrap_err().to_string();
            assert!(error.contains("multi-label"), "{error}");
        }
    }
}

#[test]
fn more_columns_are_known_by_name() {
    for column in ["Image Index", "fname", "img", "filepaths", "Image_Path", "image-name"] {
        let text = format!("{column},label,width\na/00.jpg,x,1\na/01.jpg,y,2\n");
        let dataset = open_manifest(list(&text).1, FolderUse::Train).unwrap();
        assert_eq!(dataset.len(), 2, "{column}");
    }
}

#[test]
fn files_of_a_list_may_be_in_several_folders() {
    let list = |paths: &[&str], rows: &[&str]| {
        let root = folder(paths);
        let rows = rows.iter().enumerate().map(|(n, row)| format!("{row},c{}\n", n % 2));
        let text = format!("image_id,label\n{}", rows.collect::<String>());
        fs::write(root.path().join("metadata.csv"), text).unwrap();
        let dataset = open_manifest(root.path().join("metadata.csv"), FolderUse::Train);
        (root, dataset)
    };
    let paths = ["part_1/a.jpg", "part_2/b.jpg", "part_1/c.jpg", "part_2/d.jpg"];
    let (_root, dataset) = list(&paths, &["a", "b", "c", "d"]);
    let dataset = dataset.unwrap();
    assert!((0..4).all(|index| dataset.fetch(index).is_ok()));
    assert!(dataset.samples().iter().any(|sample| sample.id == "part_2/b.jpg"));
    remarks(&dataset, &["part_1' and '", "part_2'"]);
    // Samples of the same pictures are not in the way.
    let paths = ["all/a.jpg", "all/b.jpg", "all/c.jpg", "preview/b.jpg"];
    let (_root, dataset) = list(&paths, &["a", "b", "c"]);
    assert!(dataset.unwrap().samples().iter().any(|sample| sample.id == "b.jpg"));
    // The same name in two folders cannot be told.
    let paths = ["one/a.jpg", "two/a.jpg", "two/b.jpg", "one/c.jpg"];
    let (_root, dataset) = list(&paths, &["a", "b", "c"]);
    assert!(matches!(dataset, Err(Error::Ambiguous { .. })));
    // What is missing is looked for in a folder that is named.
    let (_root, dataset) = list(&["part_1/a.jpg", "part_2/b.jpg"], &["a", "b", "c.jpg"]);
    let dataset = dataset.unwrap();
    let finding = (0..3).find_map(|index| dataset.fetch(index).err()).unwrap();
    assert!(finding.reason.contains("looked for in"), "{finding:?}");
}
