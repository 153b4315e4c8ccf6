"""Label Studio's labelling configuration that fits pre-annotations and imports, and whether another one does.

Format: https://labelstud.io/guide/setup#Customize-a-labeling-configuration
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree

from semblance.training.dataset.dataset import DatasetError
from semblance.training.dataset.label_studio import IMAGE_KEY, ITEM

LABEL, IMAGE = "label", "image"
"""Names of the control that rectangles are drawn with, and of the photo that they are drawn on."""


def configuration(classes: Iterable[str]) -> str:
    """XML: a photo, rectangles of these classes, which may be turned, and for each a text for its item's id."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", {"name": IMAGE, "value": f"${IMAGE_KEY}", "zoom": "true"})
    labels = ElementTree.SubElement(view, "RectangleLabels", {"name": LABEL, "toName": IMAGE, "canRotate": "true"})
    for name in classes:
        ElementTree.SubElement(labels, "Label", {"value": name})
    item = {"name": ITEM, "toName": IMAGE, "perRegion": "true", "maxSubmissions": "1", "editable": "true"}
    ElementTree.SubElement(view, "TextArea", item | {"placeholder": "item id", "displayMode": "region-list"})
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def check(xml: str, classes: Iterable[str], items: bool) -> None:
    """Raises DatasetError where a project's configuration would show nothing of pre-annotations of these classes.

    Label Studio itself takes them in silence, and its editor then leaves them out.
    """
    try:
        view = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise DatasetError(f"the project's labelling configuration is no XML: {error}") from error
    image = view.find(f".//*[@name='{IMAGE}']")
    labels = view.find(f".//RectangleLabels[@name='{LABEL}'][@toName='{IMAGE}']")
    known = {label.get("value") for label in labels.findall("Label")} if labels is not None else set()
    missing = [f"the class {name!r}" for name in classes if name not in known]
    if image is None or image.get("value") != f"${IMAGE_KEY}":
        missing = [f'<Image name="{IMAGE}" value="${IMAGE_KEY}">']
    elif labels is None:
        missing = [f'<RectangleLabels name="{LABEL}" toName="{IMAGE}">']
    elif items and view.find(f".//*[@name='{ITEM}'][@toName='{IMAGE}']") is None:
        missing.append(f'<TextArea name="{ITEM}" toName="{IMAGE}" perRegion="true">')
    if missing:
        raise DatasetError(
            f"the project's labelling configuration has not {', '.join(missing)}; `semblance dataset config` prints "
            "one that has it"
        )
