"""Correct XMP, and split and join XMP that is longer than a JPEG segment."""

import hashlib
import re
import struct
from collections.abc import Iterable
from typing import Any
from xml.dom import expatbuilder
from xml.dom.minidom import Attr, Document

VIDEO, GAIN_MAP, DEPTH = "the video of a motion photo", "the HDR gain map", "the depth map"

TIFF, EXIF = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"
GOOGLE = "http://ns.google.com/photos/"

BEHIND = {
    f"{GOOGLE}1.0/container/": "",
    f"{GOOGLE}1.0/container/item/": "",
    f"{GOOGLE}1.0/depthmap/": DEPTH,
    f"{GOOGLE}1.0/image/": "the photo before its effects",
    f"{GOOGLE}1.0/audio/": "the sound",
    f"{GOOGLE}dd/1.0/device/": DEPTH,
    "http://ns.adobe.com/hdr-gain-map/1.0/": GAIN_MAP,
    "http://ns.apple.com/HDRGainMap/1.0/": GAIN_MAP,
}
"""Namespaces for further parts of a photo's file, and the name of the part."""

ITEMS = {"GainMap": GAIN_MAP, "MotionPhoto": VIDEO, "Depth": DEPTH}
"""The name of the part by the ``Item:Semantic`` of Google's container."""

MOTION = re.compile("(MotionPhoto|MicroVideo|OLivePhotoVersion|VideoLength)(.*)")
"""Properties of motion photos, in the namespaces of several makers, and their suffixes."""

STALE = ("xmp:Thumbnails", "xap:Thumbnails", "xmpNote:HasExtendedXMP")
"""Properties with a thumbnail of the input, or a pointer to a segment of the input file."""

REGIONS = ("mwg-rs:Regions", "MP:RegionInfo")
"""Properties with positions of faces before rotation."""

HEAD, MORE = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
SEGMENT = 65_533
"""Largest size of a JPEG segment in bytes."""

STUB = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    b'syntax-ns#"><rdf:Description rdf:about="" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" '
    b'xmpNote:HasExtendedXMP="%s"/></rdf:RDF></x:xmpmeta>'
)


def true_xmp(xmp: bytes, size: tuple[int, int], turned: bool) -> tuple[bytes, list[str]]:
    """Correct XMP for an upright picture that is alone in its file, and name the lost parts.

    Orientation, width and height are set. Properties about a video, a gain map or another part of
    the input file are removed, and so are positions of faces if the picture was turned. Invalid XML
    is returned unchanged.
    """
    document = parsed(xmp)
    if document is None:
        return xmp, []
    width, height = map(str, size)
    facts = {
        (TIFF, "Orientation"): "1",
        (TIFF, "ImageWidth"): width,
        (TIFF, "ImageLength"): height,
        (EXIF, "PixelXDimension"): width,
        (EXIF, "PixelYDimension"): height,
    }
    lost, changed = [], False
    spaces = {"tiff": TIFF, "exif": EXIF}
    spaces |= {node.nodeName[6:]: node.value for node in nodes(document) if is_declaration(node)}
    for node in nodes(document):
        prefix, _, name = node.nodeName.partition(":")
        space = spaces.get(prefix, "")
        text = node if isinstance(node, Attr) else node.firstChild
        value: Any = getattr(text, "nodeValue", None)
        if (space, name) in facts and value is not None:
            changed |= value != facts[space, name]
            text.nodeValue = facts[space, name]
        elif space in BEHIND:
            lost.append(ITEMS.get(value, "") if name == "Semantic" else BEHIND[space])
            remove_node(node)
        elif match := MOTION.fullmatch(name):
            lost.append("" if match[2] or value == "0" else VIDEO)
            remove_node(node)
        elif turned and node.nodeName in REGIONS:
            lost.append("the places of faces")
            remove_node(node)
        elif node.nodeName in STALE:
            lost.append("")
            remove_node(node)
    if not lost and not changed:
        return xmp, []
    used = {n.nodeName.partition(":")[0] for n in nodes(document)}
    for node in nodes(document):
        if lost and is_declaration(node) and node.nodeName[6:] not in used:
            remove_node(node)
    return written(document), [what for what in lost if what]


def joined_xmp(segments: Iterable[bytes]) -> tuple[bytes | None, list[str]]:
    """The XMP in the application segments of a JPEG, and the names of unreadable parts."""
    main, parts = None, {}
    for segment in segments:
        if segment.startswith(HEAD):
            main = segment.removeprefix(HEAD)
        elif segment.startswith(MORE) and len(segment) >= len(MORE) + 40:
            guid, length, place = struct.unpack_from(">32sII", segment, len(MORE))
            parts[guid, length, place] = segment[len(MORE) + 40 :]
    parts = {key: part for key, part in parts.items() if main and key[0] in main}
    if not main or b"HasExtendedXMP" not in main:
        return main, []
    extension = b"".join(parts[key] for key in sorted(parts))
    into, more = parsed(main), parsed(extension)
    if into is None or more is None or any(key[1] != len(extension) for key in parts):
        return main, ["a part of its XMP"]
    target, source = (tree.getElementsByTagName("rdf:RDF") for tree in (into, more))
    for child in source[0].childNodes if source and target else ():
        copy = into.importNode(child, True)
        if child.nodeType == child.ELEMENT_NODE:
            for parent in (more.documentElement, source[0]):  # copy their namespaces
                for name, value in parent.attributes.items():
                    copy.setAttribute(name, copy.getAttribute(name) or value)
        target[0].appendChild(copy)
    return written(into), []


def xmp_segments(xmp: bytes) -> bytes:
    """The JPEG segments for XMP of any length, split as in Adobe's standard."""
    if len(HEAD + xmp) <= SEGMENT:
        return segments(0xE1, HEAD, xmp)
    body = re.sub(rb"<\?xpacket.*?\?>", b"", xmp).strip()
    guid = hashlib.md5(body, usedforsecurity=False).hexdigest().upper().encode()
    step = SEGMENT - len(MORE) - 40
    heads = {
        at: MORE + guid + struct.pack(">II", len(body), at) for at in range(0, len(body), step)
    }
    parts = [segments(0xE1, head, body[at : at + step]) for at, head in heads.items()]
    return b"".join([segments(0xE1, HEAD, STUB % guid), *parts])


def segments(marker: int, head: bytes, data: bytes) -> bytes:
    """Split data into JPEG segments, each with the head."""
    step = SEGMENT - len(head)
    parts = [head + data[at : at + step] for at in range(0, len(data), step)]
    return b"".join(struct.pack(">BBH", 0xFF, marker, len(part) + 2) + part for part in parts)


def parsed(xmp: bytes) -> Any:
    """The tree of an XML text, or None."""
    if b"<!DOCTYPE" in xmp:  # entities of a document type can use any amount of memory
        return None
    try:
        return expatbuilder.parseString(xmp.strip(b"\0 \t\r\n"), namespaces=False)
    except Exception:  # a parser may raise any exception
        return None


def written(document: Document) -> bytes:
    """The XML text of a tree, as bytes."""
    return "".join(node.toxml() for node in document.childNodes).encode()


def nodes(document: Document) -> list[Any]:
    """All elements and attributes."""
    elements = document.getElementsByTagName("*")
    return [*elements, *(node for element in elements for node in element.attributes.values())]


def is_declaration(node: Any) -> bool:
    """Whether an attribute declares a namespace prefix."""
    return isinstance(node, Attr) and node.nodeName.startswith("xmlns:")


def remove_node(node: Any) -> None:
    """Remove an element or an attribute from its tree."""
    if isinstance(node, Attr):
        node.ownerElement.removeAttribute(node.nodeName)  # type: ignore[union-attr]
    else:
        node.parentNode.removeChild(node)
