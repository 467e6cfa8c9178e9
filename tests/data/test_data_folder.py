"""Folders, tables and archives of pictures: everything is read, or named in an error."""

import io
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image

from tlearn.data import Batches, DataError, Pipeline, decode_image, folder_dataset, open_dataset
from tlearn.data.decode import check_image


def test_a_folder_of_splits_and_classes(folder):
    train = open_dataset(f"folder:{folder}", "train")
    assert train.label_names == ("cat", "dog")
    assert [train.id(i) for i in (0, 1, 4)] == [
        "train/cat/0.png",
        "train/cat/1.jpeg",
        "train/dog/0.png",
    ]
    assert train.labels.tolist() == [0] * 4 + [1] * 4
    assert train[3]["image"].shape == (15, 10, 3)
    assert len(open_dataset(folder, "train+test")) == 12
    flat = folder_dataset(folder / "test")
    assert flat.digest == open_dataset(folder, "test").digest
    with pytest.raises(DataError, match="holds folders of class folders"):
        folder_dataset(folder)


def test_the_digest_is_of_the_bytes_of_the_files(folder, tmp_path):
    before = folder_dataset(folder / "train").digest
    shutil.copytree(folder / "train", tmp_path / "moved")
    assert folder_dataset(tmp_path / "moved").digest == before
    file = tmp_path / "moved" / "cat" / "0.png"
    stat, data = file.stat(), bytearray(file.read_bytes())
    pixels = np.array(Image.open(io.BytesIO(bytes(data))))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(file)
    assert folder_dataset(tmp_path / "moved").digest != before
    assert stat.st_ino == file.stat().st_ino


def test_an_empty_class_folder_is_an_error(folder):
    (folder / "train" / "bird").mkdir()
    with pytest.raises(DataError, match="bird/ is an empty class folder"):
        open_dataset(folder, "train")
    assert len(open_dataset(folder, "test")) == 4


def test_files_that_are_no_pictures_are_all_named(folder):
    (folder / "train" / "cat" / "notes.txt").write_text("not a cat")
    (folder / "train" / "dog" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (folder / "train" / "dog" / "empty.jpg").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        open_dataset(folder, "train")
    message = str(caught.value)
    assert "3 of 11 files are no decodable pictures" in message
    for name in ("train/cat/notes.txt", "train/dog/.DS_Store", "train/dog/empty.jpg"):
        assert name in message
    assert "skip_unreadable=True" in message
    kept = open_dataset(folder, "train", skip_unreadable=True)
    assert len(kept) == 8
    assert kept.skipped == ("train/cat/notes.txt", "train/dog/.DS_Store", "train/dog/empty.jpg")
    assert "left out, unreadable: 3" in kept.describe()
    patterns = ("*.txt", "train/dog/.DS_Store", "empty.*")
    assert len(open_dataset(folder, "train", exclude=patterns)) == 8


def test_a_pattern_that_excludes_nothing_is_an_error(folder):
    (folder / "train" / "cat" / "missing.gif").write_bytes(b"GIF")
    with pytest.raises(DataError, match=r"'mising.gif': did you mean 'missing.gif'"):
        open_dataset(folder, "test", exclude=("mising.gif",))
    # Patterns are about the whole folder: used in another split is used.
    assert len(open_dataset(folder, "test", exclude=("missing.gif",))) == 4


def test_whole_folders_can_be_excluded(folder):
    train = open_dataset(folder, "train", exclude=("train/cat/*",))
    assert train.label_names == ("dog",)
    # By file names alone, the class is empty: that is not what was meant.
    with pytest.raises(DataError, match="cat/ is an empty class folder"):
        open_dataset(folder, "train", exclude=("train/cat/?.*",))


def test_files_beside_the_class_folders_are_an_error(folder):
    (folder / "train" / "README").write_text("hello")
    with pytest.raises(DataError, match="README lies beside the class folders"):
        open_dataset(folder, "train")
    assert len(open_dataset(folder, "train", exclude=("README",))) == 8


def test_classes_and_splits_side_by_side_are_ambiguous(folder, make_picture, make_encoded):
    (folder / "bird").mkdir()
    (folder / "bird" / "a.png").write_bytes(make_encoded(make_picture(0)))
    with pytest.raises(DataError, match=r"cannot tell classes from splits(.|\n)*bird/ holds files"):
        open_dataset(folder, "train")


@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_a_truncated_picture_is_found_when_the_folder_is_opened(folder, form):
    file = next((folder / "train" / "dog").glob(f"*.{form}"))
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(DataError, match=f"train/dog/{file.name} cannot be decoded"):
        open_dataset(folder, "train")


def test_a_broken_picture_is_named_with_its_index_when_it_is_used(folder):
    file = folder / "train" / "dog" / "0.png"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(bytes(data))
    train = open_dataset(folder, "train")  # header and end are whole
    with pytest.raises(DataError, match=r"picture 4, train/dog/0\.png, cannot be decoded"):
        train[4]
    with pytest.raises(DataError, match=r"train/dog/0\.png"):
        open_dataset(folder, "train", check="full")
    batches = Batches(train, Pipeline(), 8, seed=0, shuffle=False)
    with pytest.raises(DataError, match=r"example 4 \(train/dog/0.png\) at epoch 0, step 0"):
        batches.at(0)


def test_unchecked_files_fail_when_used(folder):
    (folder / "train" / "cat" / "zzz.txt").write_text("x")
    train = open_dataset(folder, "train", check="none")
    with pytest.raises(DataError, match="is no picture in a known format"):
        train[4]
    with pytest.raises(DataError, match="needs a check"):
        open_dataset(folder, "train", check="none", skip_unreadable=True)
    with pytest.raises(DataError, match="'slow' is none of"):
        open_dataset(folder, "train", check="slow")


def test_decoding_modes(tmp_path, make_picture):
    grey = make_picture(0, channels=1)[..., 0]
    forms = {
        "grey": Image.fromarray(grey),
        "palette": Image.fromarray(make_picture(1)).convert("P"),
        "alpha": Image.fromarray(make_picture(2, channels=4)),
        "bit": Image.fromarray(grey > 100),
    }
    for name, image in forms.items():
        file = tmp_path / f"{name}.png"
        image.save(file)
        assert decode_image(file).shape == (12, 10, 3)
        assert decode_image(file, channels=1).shape == (12, 10, 1)
    assert np.array_equal(decode_image(tmp_path / "grey.png", channels=1)[..., 0], grey)
    assert np.array_equal(decode_image(tmp_path / "grey.png")[..., 2], grey)


def test_pictures_that_would_be_read_wrongly_are_refused(tmp_path, make_picture):
    deep = tmp_path / "deep.png"
    Image.fromarray(make_picture(0, channels=1)[..., 0].astype(np.uint16) * 256).save(deep)
    assert "8 bits a channel" in str(check_image(deep))
    film = tmp_path / "film.gif"
    frames = [Image.fromarray(make_picture(seed)) for seed in (1, 2)]
    frames[0].save(film, save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="holds 2 frames"):
        decode_image(film)
    with pytest.raises(DataError, match=r"absent\.png does not exist"):
        decode_image(tmp_path / "absent.png")


def test_pictures_are_turned_as_the_camera_noted(tmp_path, make_picture):
    pixels = make_picture(0)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    file = tmp_path / "turned.png"
    Image.fromarray(pixels).save(file, exif=exif)
    assert np.array_equal(decode_image(file), np.rot90(pixels, -1))
    assert np.array_equal(decode_image(file, upright=False), pixels)


# --- tables -------------------------------------------------------------------------------------


def table(folder, text, name="list.csv"):
    file = folder / name
    file.write_text(text, encoding="utf-8-sig")
    return file


def test_a_table_of_paths_and_labels(folder):
    file = table(folder, "path,label\ntrain/cat/0.png,Cat\ntrain/dog/1.jpeg,Dog\n")
    data = open_dataset(f"csv:{file}")
    assert data.label_names == ("Cat", "Dog")
    assert data[1]["id"] == "train/dog/1.jpeg"
    assert data.digest == open_dataset(file).digest
    rows = "file\tkind\tpart\ntrain/cat/0.png\t01\ta\ntrain/dog/0.png\t1\tb\n"
    split = open_dataset(
        table(folder, rows, "list.tsv"),
        "b",
        path_column="file",
        label_column="kind",
        split_column="part",
    )
    assert split.label_names == ("01", "1")
    assert split.labels.tolist() == [1]


def test_a_missing_column_names_the_nearest(folder):
    file = table(folder, "Path,lable\ntrain/cat/0.png,Cat\n")
    with pytest.raises(DataError) as caught:
        open_dataset(file)
    assert "'path': did you mean 'Path'?" in str(caught.value)
    assert "'label': did you mean 'lable'?" in str(caught.value)
    assert "label_column=" in str(caught.value)


def test_lines_that_cannot_be_used_are_all_named(folder):
    file = table(
        folder,
        "path,label\ntrain/cat/9.png,Cat\ntrain/cat/0.png,\ntrain/dog/0.png,Dog\n"
        "train/dog/0.png,Cat\n",
    )
    with pytest.raises(DataError) as caught:
        open_dataset(file)
    for words in (
        "these lines cannot be used",
        "line 2: train/cat/9.png does not exist",
        "line 3: empty label",
        "line 5: train/dog/0.png is labelled 'Cat', but 'Dog' in line 4",
    ):
        assert words in str(caught.value)
    with pytest.raises(DataError, match="the header has 2 fields, but\n  line 2: 3 fields"):
        open_dataset(table(folder, "path,label\na,b,c\n"))
    with pytest.raises(DataError, match="at least one picture"):
        open_dataset(table(folder, "path,label\n"))


# --- archives -----------------------------------------------------------------------------------


def archive(path, members):
    with tarfile.open(path, "w:xz") as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            if data is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                file.addfile(info)
            else:
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
    return path


def test_archives_of_one_size_are_decoded_once(tmp_path, make_picture, make_encoded):
    pixels = [make_picture(seed, 6, 6) for seed in range(4)]
    members = [
        (f"train/{('b', 'a')[i % 2]}/{i}.png", make_encoded(p)) for i, p in enumerate(pixels)
    ]
    file = archive(tmp_path / "train.tar.xz", members)
    seen = []
    data = open_dataset(f"tar:{file}", progress=lambda done, total: seen.append(done))
    assert data.in_memory
    assert seen == [1, 2, 3, 4]
    assert data.label_names == ("a", "b")
    assert [data[i]["id"] for i in range(2)] == ["train/a/1.png", "train/a/3.png"]
    assert np.array_equal(data[0]["image"], pixels[1])
    archive(tmp_path / "test.tar.xz", members[:2])
    assert len(open_dataset(f"tar:{tmp_path}", "test")) == 2
    assert len(open_dataset(tmp_path, "train")) == 4


def test_archives_of_mixed_sizes_and_of_several_splits(tmp_path, make_picture, make_encoded):
    members = [
        (f"./top/{split}/cat/{i}.png", make_encoded(make_picture(i, 6 + i, 6)))
        for split in ("one", "two")
        for i in range(2)
    ]
    file = archive(tmp_path / "pets.tar.xz", members)
    data = open_dataset(file, "two")
    assert not data.in_memory
    assert data[1]["image"].shape == (7, 6, 3)
    assert data[1]["id"] == "top/two/cat/1.png"


def test_hostile_and_damaged_archives(tmp_path, make_picture, make_encoded):
    good = make_encoded(make_picture(0))
    outside = archive(
        tmp_path / "a.tar.xz",
        [("../cat/x.png", good), ("/etc/cat/x.png", good), ("cat/link", None), ("x.png", good)],
    )
    with pytest.raises(DataError) as caught:
        open_dataset(outside)
    for words in (
        "../cat/x.png lies outside",
        "/etc/cat/x.png lies outside",
        "cat/link is a link",
        "x.png lies in no class folder",
    ):
        assert words in str(caught.value)
    whole = archive(tmp_path / "b.tar.xz", [("cat/0.png", good), ("cat/1.png", good[:-30])])
    with pytest.raises(DataError, match=r"cat/1\.png cannot be decoded"):
        open_dataset(whole)
    assert len(open_dataset(whole, skip_unreadable=True)) == 1
    with pytest.raises(DataError, match="unpacks to more than max_bytes=100"):
        open_dataset(whole, max_bytes=100)
    whole.write_bytes(whole.read_bytes()[:-60])
    with pytest.raises(DataError, match="damaged"):
        open_dataset(whole)
    plain = tmp_path / "d.tar"
    with tarfile.open(plain, "w:") as file:
        for name in ("cat/0.png", "cat/1.png"):
            info = tarfile.TarInfo(name)
            info.size = len(good)
            file.addfile(info, io.BytesIO(good))
    assert len(open_dataset(plain)) == 2
    second = plain.read_bytes().index(b"cat/1.png")
    plain.write_bytes(plain.read_bytes()[:second])  # a cut between two members
    with pytest.raises(DataError, match="cut short"):
        open_dataset(plain)
    (tmp_path / "c.tar").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="no archive"):
        open_dataset(tmp_path / "c.tar")


# --- by name ------------------------------------------------------------------------------------


def test_names_and_options_that_are_wrong(folder, tmp_path):
    for spec, words in (
        ("foldr:x", "did you mean 'folder'"),
        ("nowhere", "no dataset and no path"),
        ("folder:", "names no place"),
        (f"folder:{tmp_path}/pest", "did you mean 'pets'"),
        (f"csv:{tmp_path}/none.csv", "no such file"),
        (f"mnist:{tmp_path}/none", "no such folder"),
        ("digit", "did you mean 'digits'"),
    ):
        with pytest.raises(DataError) as caught:
            open_dataset(spec)
        assert words in str(caught.value), str(caught.value)
    with pytest.raises(DataError, match=r"'exlude': did you mean 'exclude'\?"):
        open_dataset(folder, "train", exlude=("x",))
    # The expression is read before any file is.
    with pytest.raises(DataError, match="cannot read the split"):
        open_dataset("folder:/nowhere/at/all", "train[")


def test_a_path_that_could_be_two_things(folder, tmp_path, make_picture, make_encoded):
    archive(tmp_path / "x.tar.xz", [("cat/0.png", make_encoded(make_picture(0)))])
    with pytest.raises(DataError, match="could be tar or folder; say which, as in tar:"):
        open_dataset(tmp_path)
    (tmp_path / "hollow").mkdir()
    with pytest.raises(DataError, match="looks like no dataset"):
        open_dataset(tmp_path / "hollow")
    (tmp_path / "file.bin").write_bytes(b"")
    with pytest.raises(DataError, match="cannot tell what this file is"):
        open_dataset(tmp_path / "file.bin")
