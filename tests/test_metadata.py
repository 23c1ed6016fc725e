"""Metadata is kept or reported as left out, and is correct for the new file."""

import io
import json
import struct

import pytest
from PIL import Image, PngImagePlugin
from pillow_heif import from_pillow

from derefl.cli import main
from derefl.errors import ImageError
from derefl.hashing.pictures import read
from derefl.imaging.exif import upright_exif
from derefl.imaging.files import open_picture, save_picture
from derefl.imaging.formats import JPEG
from derefl.imaging.metadata import left_out, upright
from derefl.imaging.tensors import to_tensor
from derefl.imaging.xmp import true_xmp, xmp_segments
from tests.pictures import deep_picture, picture

IPTC = b"\x1c\x02\x05\x00\x05Title"
COMMENT = b"a comment"
TEXTS = {"Title": "A title", "Author": "Jörg", "Description": "ein Fenster – für später"}
CICP = bytes([9, 16, 0, 1])


def xmp(inside: str, attributes: str = "") -> bytes:
    """XMP with a creator and other properties, in common namespaces."""
    spaces = {
        "tiff": "http://ns.adobe.com/tiff/1.0/",
        "exif": "http://ns.adobe.com/exif/1.0/",
        "GCamera": "http://ns.google.com/photos/1.0/camera/",
        "Container": "http://ns.google.com/photos/1.0/container/",
        "Item": "http://ns.google.com/photos/1.0/container/item/",
        "GDepth": "http://ns.google.com/photos/1.0/depthmap/",
        "hdr": "http://ns.adobe.com/hdr-gain-map/1.0/",
        "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
        "xmpNote": "http://ns.adobe.com/xmp/note/",
    }
    declared = " ".join(f'xmlns:{key}="{value}"' for key, value in spaces.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:'
        f'meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        f'{declared} xmlns:dc="http://purl.org/dc/elements/1.1/" dc:creator="Jörg" {attributes}>'
        f'{inside}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def sources() -> dict[str, bytes]:
    """Files by name: each has metadata that few formats support."""
    rgb, files = picture("RGB"), {}
    block = b"Photoshop 3.0\0" + b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(IPTC)) + IPTC
    app13 = struct.pack(">BBH", 0xFF, 0xED, len(block) + 2) + block
    chunks = PngImagePlugin.PngInfo()
    for key, value in TEXTS.items():
        chunks.add_text(key, value)
    for name, suffix, options in (
        ("iptc", "JPEG", {"extra": app13}),
        ("comment", "JPEG", {"comment": COMMENT}),
        ("text", "PNG", {"pnginfo": chunks}),
        ("xmp", "WEBP", {"xmp": xmp(f"<a>{'x' * 150_000}</a>")}),
    ):
        buffer = io.BytesIO()
        rgb.save(buffer, suffix, **options)
        files[f"{name}.{suffix.lower()}"] = buffer.getvalue()
    return files


HELD = {
    "iptc.jpeg": (".jpg", ".tif"),
    "comment.jpeg": (".jpg", ".png"),
    "text.png": (".png",),
    "xmp.webp": (".jpg", ".tif", ".png", ".webp", ".avif", ".heic"),
}
"""By file: the formats that can store its metadata."""

NAMES = {
    "iptc.jpeg": "IPTC",
    "comment.jpeg": "the comment",
    "text.png": "text (Title, Author, Description)",
}


def said(name: str, info: dict) -> object:
    """The metadata of a file of :func:`sources`, read by Pillow."""
    if name == "iptc.jpeg":
        return info.get("photoshop", {}).get(0x0404)
    if name == "comment.jpeg":
        comment = info.get("comment") or info.get("Comment", "").encode()
        return comment or None
    if name == "text.png":
        return {key: info[key] for key in TEXTS if key in info} or None
    return b"x" * 150_000 in info.get("xmp", b"")


@pytest.mark.parametrize("name", HELD)
def test_what_a_format_holds_is_kept_and_the_rest_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(sources()[name])
    opened = open_picture(tmp_path / name)
    with Image.open(tmp_path / name) as file:
        straight = upright(file)
    expected = said(name, opened.info)
    assert expected
    for suffix in (".jpg", ".tif", ".png", ".webp", ".avif", ".heic"):
        for image in (opened, straight):
            lost = save_picture(image, path := tmp_path / f"new{suffix}", overwrite=True)
            back = open_picture(path)
            kept = suffix in HELD[name]
            assert lost == ([] if kept else [NAMES[name]])
            assert (said(name, back.info) == expected) == kept
            assert "left_out" not in back.info


def test_iptc_and_xmp_of_a_tiff_are_kept_in_8_and_16_bits(tmp_path):
    for image in (picture("RGB"), deep_picture("RGB")):
        image.info["photoshop"] = {0x0404: IPTC, 0x0409: b"a small copy of the old picture"}
        image.info.update(xmp=xmp(""), dpi=(9, 9))
        assert save_picture(upright(image), tmp_path / "a.tif", overwrite=True) == []
        info = open_picture(tmp_path / "a.tif").info
        assert info["photoshop"] == {0x0404: IPTC}
        assert (info["xmp"], info["dpi"]) == (xmp(""), (9, 9))
        with Image.open(tmp_path / "a.tif") as file:
            assert file.tag_v2[33723] == IPTC


@pytest.mark.parametrize("image", [picture("RGB"), deep_picture("RGB")], ids=["8", "16"])
def test_the_colour_space_of_a_png_is_kept_or_named(tmp_path, image):
    image.info["cicp"] = CICP
    assert save_picture(image, tmp_path / "a.png") == []
    assert b"cICP" + CICP in (tmp_path / "a.png").read_bytes()
    back = open_picture(tmp_path / "a.png")
    assert back.info["cicp"] == CICP
    assert save_picture(back, tmp_path / "a.tif") == ["the colour space (cICP)"]


def test_the_colours_of_an_hdr_heic_are_kept_or_named(tmp_path):
    image = from_pillow(picture("RGB"))
    image.save(tmp_path / "a.heic", transfer_characteristics=16, color_primaries=9)
    opened = open_picture(tmp_path / "a.heic")
    assert save_picture(opened, tmp_path / "b.heic") == []
    assert open_picture(tmp_path / "b.heic").info["nclx_profile"]["transfer_characteristics"] == 16
    assert save_picture(opened, tmp_path / "b.jpg") == ["the colour space (HDR)"]


def test_hdr_is_refused_where_a_network_would_misread_it(tmp_path, checkpoint, capsys):
    photo, deep = picture("RGB"), deep_picture("RGB")
    photo.info["cicp"], deep.info["cicp"] = CICP, bytes([9, 18, 0, 1])
    save_picture(photo, tmp_path / "pq.png")
    save_picture(deep, tmp_path / "hlg.png")
    from_pillow(picture("RGB")).save(tmp_path / "pq.heic", transfer_characteristics=16)
    save_picture(picture("RGB"), tmp_path / "sdr.avif")
    content = (tmp_path / "sdr.avif").read_bytes()
    (tmp_path / "hlg.avif").write_bytes(content.replace(b"nclx\0\1\0\r", b"nclx\0\t\0\x12"))
    picture("RGB").save(tmp_path / "pq.jpg", icc_profile=b"cicp\0\0\1\0 cicp\0\0\0\0" + CICP)
    for name in ("pq.png", "hlg.png", "pq.heic", "hlg.avif", "pq.jpg"):
        opened = open_picture(tmp_path / name)
        with pytest.raises(ImageError, match=f"HDR with a {name.split('.')[0].upper()} curve"):
            to_tensor(opened)
        assert read(tmp_path / name).size == (24, 18)  # search may see it
    avif = open_picture(tmp_path / "hlg.avif")
    assert save_picture(avif, tmp_path / "new.heic") == []
    profile = open_picture(tmp_path / "new.heic").info["nclx_profile"]
    assert (profile["color_primaries"], profile["transfer_characteristics"]) == (9, 18)
    photo.info["cicp"] = bytes([12, 13, 0, 1])  # Display P3
    for image in (photo, open_picture(tmp_path / "sdr.avif")):
        assert to_tensor(image).shape == (1, 3, 18, 24)
    inputs = [str(tmp_path / name) for name in ("pq.png", "sdr.avif")]
    assert main(["remove", *inputs, "-o", str(tmp_path / "o"), "--model", checkpoint]) == 1
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["sdr.avif"]
    assert f"{inputs[0]}: HDR with a PQ curve is not supported" in capsys.readouterr().err


# data behind the photo

CLAIMS = {
    "motion": (xmp("", 'GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1"'), "video"),
    "micro video": (xmp("<GCamera:MicroVideo>1</GCamera:MicroVideo>"), "video"),
    "gain map": (xmp("", 'hdr:Version="1.0"'), "gain map"),
    "container": (
        xmp(
            "<Container:Directory><rdf:Seq><rdf:li><Container:Item Item:Semantic='Primary'/>"
            "</rdf:li><rdf:li><Container:Item Item:Semantic='GainMap' Item:Length='9'/></rdf:li>"
            "</rdf:Seq></Container:Directory>"
        ),
        "gain map",
    ),
    "depth": (xmp("", 'GDepth:Format="RangeInverse"'), "depth map"),
}


@pytest.mark.parametrize("kind", CLAIMS)
@pytest.mark.parametrize("suffix", [".jpg", ".heic", ".avif", ".webp", ".png", ".tif"])
def test_claims_about_lost_parts_go_and_the_parts_are_named(tmp_path, kind, suffix):
    image = picture("RGB")
    image.info["xmp"], word = CLAIMS[kind]
    save_picture(image, tmp_path / f"old{suffix}")
    opened = open_picture(tmp_path / f"old{suffix}")
    (lost,) = save_picture(opened, tmp_path / f"new{suffix}")
    assert word in lost
    new = open_picture(tmp_path / f"new{suffix}")
    assert "left_out" not in new.info
    text = new.info["xmp"]
    assert "Jörg".encode() in text
    for claim in (b"Motion", b"Micro", b"hdr", b"Container", b"Item", b"GDepth", b"GCamera"):
        assert claim not in text


def test_a_photo_without_motion_has_lost_nothing():
    text = xmp("", 'GCamera:MotionPhoto="0" GCamera:MotionPhotoVersion="1"')
    assert true_xmp(text, (24, 18), turned=False)[1] == []
    assert true_xmp(xmp(""), (24, 18), turned=True) == (xmp(""), [])


@pytest.mark.parametrize("suffix", [".jpg", ".heic"])
def test_a_video_behind_a_photo_is_named(tmp_path, suffix):
    save_picture(picture("RGB"), path := tmp_path / f"a{suffix}")
    with path.open("ab") as file:
        file.write(b"\0\0\0\x18ftypmp42" + bytes(99))
    assert open_picture(path).info["left_out"] == ("the video of a motion photo",)


@pytest.mark.parametrize(
    "mark", [b"iso:std:iso:ts:21496:-1", b"com:apple:photo:2020:aux:hdrgainmap"]
)
def test_a_gain_map_behind_a_jpeg_is_named(tmp_path, mark):
    save_picture(picture("RGB"), path := tmp_path / "a.jpg")
    with path.open("ab") as file:
        file.write(b"\xff\xd8\xff\xe2\0\x30urn:" + mark + bytes(99))
    assert save_picture(open_picture(path), tmp_path / "b.jpg") == ["the HDR gain map"]


def test_pictures_behind_a_jpeg_are_named_and_its_previews_are_not(tmp_path):
    picture("RGB").save(tmp_path / "a.mpo", save_all=True, append_images=[picture("RGB", seed=1)])
    assert open_picture(tmp_path / "a.mpo").info["left_out"] == ("the further pictures",)
    content = (tmp_path / "a.mpo").read_bytes()
    entry = content.index(b"\0\0\0\0\0\0\3\0") + 20  # the second picture in the MPF table
    preview = content[:entry] + struct.pack("<I", 0x010001) + content[entry + 4 :]
    (tmp_path / "b.mpo").write_bytes(preview)
    with Image.open(tmp_path / "b.mpo") as file:
        kinds = [entry["Attribute"]["MPType"] for entry in file.mpinfo[0xB002]]
        assert kinds[1].startswith("Large Thumbnail")
    assert "left_out" not in open_picture(tmp_path / "b.mpo").info


def test_the_second_part_of_xmp_is_read(tmp_path):
    whole = xmp(f"<dc:title>{'y' * 70_000}</dc:title>", 'GDepth:Data="secret"')
    extra = xmp_segments(whole)
    assert len(extra) > 65_535
    picture("RGB").save(tmp_path / "a.jpg", extra=extra)
    info = open_picture(tmp_path / "a.jpg").info
    assert b"y" * 70_000 in info["xmp"]
    assert b"Extended" not in info["xmp"]
    assert b"GDepth" not in info["xmp"]
    assert info["left_out"] == ("the depth map",)
    picture("RGB").save(tmp_path / "b.jpg", extra=extra[: extra.index(b"\xff\xe1", 4)])
    assert open_picture(tmp_path / "b.jpg").info["left_out"] == ("a part of its XMP",)


# orientation

REGIONS = "<mwg-rs:Regions><rdf:Bag/></mwg-rs:Regions>"
STATED = 'tiff:Orientation="6" tiff:ImageWidth="24" exif:PixelXDimension="24" '


def turned_exif() -> Image.Exif:
    """EXIF with an orientation for a picture of 24×18 pixels."""
    exif = Image.Exif()
    exif[0x0112], exif[0x0100], exif[0x0101] = 6, 24, 18
    exif[0x8769] = {0xA002: 24, 0xA003: 18, 0x9214: (5, 6), 0x9003: "2024:05:06 07:08:09"}
    loaded = Image.Exif()  # for a TIFF, Pillow needs EXIF that was read
    loaded.load(exif.tobytes())
    return loaded


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_exif_and_xmp_agree_with_a_turned_picture(tmp_path, suffix):
    Image.new("RGB", (24, 18)).save(tmp_path / f"a{suffix}", exif=turned_exif())
    image = open_picture(tmp_path / f"a{suffix}")
    image.info["xmp"], lost = true_xmp(xmp(REGIONS, STATED), image.size, turned=True)
    assert lost == ["the places of faces"]
    assert image.size == (18, 24)
    save_picture(image, tmp_path / f"b{suffix}")
    back = open_picture(tmp_path / f"b{suffix}")
    exif = back.getexif()
    detail = exif.get_ifd(0x8769)
    assert (detail[0xA002], detail[0xA003], detail[0x9003]) == (18, 24, "2024:05:06 07:08:09")
    assert exif.get(0x0112, 1) == 1
    if suffix != ".tif":
        assert (exif[0x0100], exif[0x0101], 0x9214 in detail) == (18, 24, False)
    text = back.info["xmp"].decode()
    for stated in ('Orientation="1"', 'ImageWidth="18"', 'PixelXDimension="18"'):
        assert stated in text
    assert "Regions" not in text


def test_a_picture_that_is_not_turned_keeps_the_places_of_its_subjects():
    assert true_xmp(xmp(REGIONS), (18, 24), turned=False) == (xmp(REGIONS), [])
    after = Image.Exif()
    after.load(upright_exif(turned_exif().tobytes(), (24, 18)))
    assert after.get_ifd(0x8769)[0x9214] == (5, 6)


# messages for the user


def test_the_command_names_what_is_left_out(tmp_path, checkpoint, capsys):
    for name, content in sources().items():
        (tmp_path / name).write_bytes(content)
    options = ["-o", str(tmp_path / "out"), "--format", "webp", "--model", checkpoint]
    inputs = [str(tmp_path / name) for name in ("iptc.jpeg", "xmp.webp")]
    assert main(["remove", *inputs, *options, "--json"]) == 0
    said = capsys.readouterr()
    files = json.loads(said.out)["files"]
    assert [file["left_out"] for file in files] == [["IPTC"], []]
    (line,) = [line for line in said.err.splitlines() if "warning" in line]
    assert line == f"derefl: warning: {tmp_path}/iptc.jpeg was written without IPTC"


def test_names_of_texts_cannot_steer_a_terminal():
    image = picture("RGB")
    image.info |= {f"\x1b[2J{index}": "text" for index in range(9)}
    assert left_out(image, JPEG) == ["text (??2J0, ??2J1, ??2J2, ??2J3, …)"]
