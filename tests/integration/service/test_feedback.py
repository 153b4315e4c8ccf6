"""`FeedbackService` through the client: what is kept, found again, measured, exported and deleted."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc import StatusCode
from PIL import Image

from semblance.client import (
    AsyncClient,
    Box,
    ConflictError,
    Feedback,
    FeedbackKind,
    ForbiddenError,
    InvalidArgumentError,
    InvalidImageError,
    NewItem,
    NotFoundError,
    SearchResult,
    Source,
    StoredImage,
    UnavailableError,
    Verdict,
    WrongStateError,
)
from semblance.orchestrator.errors import DependencyUnavailable
from semblance.orchestrator.retention import Retention
from semblance.orchestrator.verification import SHARDS, Verification
from semblance.v1.feedback_pb2 import ExportFeedbackRequest
from semblance.v1.feedback_pb2_grpc import FeedbackServiceStub
from tests.integration.service.test_access import TOKENS, entry, write
from tests.integration.service.world import BOTH, GREEN_PHOTO, GREY_PHOTO, RED_PHOTO, Caller, World, until

SOMEBODY = "ipv4:127.0.0.1"


@pytest.fixture
async def client(caller: Caller) -> AsyncIterator[AsyncClient]:
    """Of a service whose catalogue has a red item and a green one."""
    async with AsyncClient(caller.address, timeout=30) as connected:
        await connected.put_item(NewItem("red", [RED_PHOTO]))
        await connected.put_item(NewItem("green", [GREEN_PHOTO]))
        yield connected


async def right(client: AsyncClient, photo: bytes = RED_PHOTO, **options: Any) -> SearchResult:
    """Searches, and says that the first hit of the first object is right."""
    result = await client.search(photo)
    verdict = Verdict.right(result.objects[0].hits[0].item_id)
    await client.feedback.give(photo, result.release, verdict, result.objects[0], **options)
    return result


async def listed(client: AsyncClient, **choice: Any) -> list[Feedback]:
    return [each async for each in client.feedback.list(**choice)]


async def test_a_verdict_is_kept_with_its_photo_and_what_was_answered(client: AsyncClient, world: World) -> None:
    result = await right(client)
    answered = result.objects[0]
    [kept] = await listed(client)
    assert kept.verdict == Verdict.right("red")
    assert (kept.caller, kept.release, kept.success) == (SOMEBODY, "r1", True)
    assert kept.answered is not None
    assert (kept.answered.source, kept.answered.box) == (Source.DETECTED, answered.box)
    assert (kept.answered.class_name, kept.answered.score) == (answered.class_name, answered.score)
    assert [(hit.item_id, hit.similarity) for hit in kept.answered.hits] == [
        (hit.item_id, hit.similarity) for hit in answered.hits
    ]
    assert (kept.image_width, kept.image_height) == (result.image_width, result.image_height)
    assert kept.condition.size == pytest.approx(
        min(answered.box.x2 - answered.box.x1, answered.box.y2 - answered.box.y1)
    )
    assert world.images.images[kept.image_id] == RED_PHOTO


async def test_giving_the_same_again_changes_nothing(client: AsyncClient) -> None:
    result = await client.search(RED_PHOTO)
    verdict, answered = Verdict.item("green"), result.objects[0]
    first = await client.feedback.give(RED_PHOTO, result.release, verdict, answered)
    again = await client.feedback.give(RED_PHOTO, result.release, verdict, answered)
    assert (first.created, again.created) == (True, False)
    assert first.feedback_id == again.feedback_id
    # Without the bytes, too, now that the service has them.
    by_id = StoredImage(hashlib.sha256(RED_PHOTO).hexdigest())
    assert (await client.feedback.give(by_id, result.release, verdict, answered)).feedback_id == first.feedback_id
    assert len(await listed(client)) == 1


async def test_another_verdict_under_the_same_id_is_a_conflict(client: AsyncClient) -> None:
    result = await right(client, feedback_id="order-7")
    with pytest.raises(ConflictError, match="'order-7' is there already"):
        await client.feedback.give(
            RED_PHOTO, result.release, Verdict.wrong("red"), result.objects[0], feedback_id="order-7"
        )
    assert [each.verdict.kind for each in await listed(client)] == [FeedbackKind.RIGHT]


async def test_what_the_store_did_not_take_is_taken_when_it_is_given_again(client: AsyncClient, world: World) -> None:
    result = await client.search(RED_PHOTO)
    said = RED_PHOTO, result.release, Verdict.right("red"), result.objects[0]
    # The client tries four times by itself.
    world.feedback.fail(*[DependencyUnavailable("gone")] * 4)
    with pytest.raises(UnavailableError):
        await client.feedback.give(*said)
    assert await listed(client) == []
    assert (await client.feedback.give(*said)).created
    assert len(await listed(client)) == 1


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"image": b"no picture"}, InvalidImageError, "not a JPEG"),
        ({"image": StoredImage("a" * 64)}, NotFoundError, "no verdict about a photo"),
        ({"image": StoredImage("short")}, InvalidArgumentError, "no image id"),
        ({"release": "r9"}, NotFoundError, "no release 'r9'"),
        ({"release": "Not one"}, InvalidArgumentError, "release's id"),
        ({"verdict": Verdict.right("elsewhere")}, InvalidArgumentError, "none of the object's"),
        ({"verdict": Verdict.item("")}, InvalidArgumentError, "ITEM needs the item_id"),
        ({"verdict": Verdict(FeedbackKind.NARROW_MARGIN)}, InvalidArgumentError, "a verdict is one of"),
        ({"verdict": Verdict.missed(Box(0, 0, 5, 5))}, InvalidArgumentError, "about no object"),
        ({"verdict": Verdict.missed(Box(0, 0, 9999, 5)), "answered": None}, InvalidArgumentError, "not inside the"),
        ({"verdict": Verdict(FeedbackKind.MISSED), "answered": None}, InvalidArgumentError, "needs the box"),
        (
            {"verdict": Verdict.box_wrong(Box(5, 5, 5, 9))},
            InvalidArgumentError,
            "verdict's box .* not inside",
        ),
        ({"verdict": Verdict.box_wrong(Box(float("nan"), 5, 5, 9))}, InvalidArgumentError, "finite"),
        ({"verdict": Verdict(FeedbackKind.BOX, "red")}, InvalidArgumentError, "nothing of an item"),
        ({"verdict": Verdict(FeedbackKind.RIGHT, "red", Box(0, 0, 5, 5))}, InvalidArgumentError, "takes no box"),
        ({"answered": None}, InvalidArgumentError, "needs the object"),
        ({"feedback_id": "a b"}, InvalidArgumentError, "id of feedback"),
    ],
)
async def test_a_verdict_that_makes_no_sense_is_refused_and_leaves_nothing(
    client: AsyncClient, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    result = await client.search(RED_PHOTO)
    said: dict[str, Any] = {
        "image": RED_PHOTO,
        "release": result.release,
        "verdict": Verdict.right("red"),
        "answered": result.objects[0],
        **changes,
    }
    with pytest.raises(error, match=message):
        await client.feedback.give(**said)
    assert await listed(client) == []


async def test_reports_how_often_the_first_hit_was_right(client: AsyncClient) -> None:
    result = await right(client)
    red = result.objects[0]
    await client.feedback.give(RED_PHOTO, "r1", Verdict.item("green"), red)
    await client.feedback.give(RED_PHOTO, "r1", Verdict.box_wrong(Box(30, 30, 130, 130)), red)
    await client.feedback.give(GREY_PHOTO, "r1", Verdict.missed(Box(0, 0, 20, 20)))
    # Of the second hit it is known already that the first one may be right.
    await client.feedback.give(RED_PHOTO, "r1", Verdict.wrong(red.hits[1].item_id), red)
    groups = {(group.by, group.name): group for group in (await client.feedback.report()).groups}
    whole = groups["all", "all"]
    assert (whole.verdicts, whole.judged, whole.right) == (5, 4, 1)
    assert whole.rate == pytest.approx(0.25)
    assert whole.rate_low is not None
    assert whole.rate_high is not None
    # Of one in four, as the formula has it.
    assert (round(whole.rate_low, 3), round(whole.rate_high, 3)) == (0.046, 0.699)
    assert dict(whole.kinds) == {"right": 1, "item": 1, "box": 1, "missed": 1, "wrong": 1}
    assert groups["release", "r1"].judged == 4
    assert groups["class", "object"].judged == 3
    assert groups["class", "none detected"].judged == 1
    # A plain square has no edges inside, but the box that should have been has the square's own; the missed one is
    # small, too.
    assert groups["condition", "blurred"].judged == 3
    assert groups["condition", "good"].judged == 1
    assert groups["condition", "small"].judged == 1
    assert "below 64 pixels" in groups["condition", "small"].meaning
    assert (await client.feedback.report(release="r9")).groups[0].rate is None


async def test_exports_each_photo_once_with_all_that_was_said(client: AsyncClient) -> None:
    for photo in (RED_PHOTO, GREEN_PHOTO):
        result = await right(client, photo)
        await client.feedback.give(photo, "r1", Verdict.box_wrong(), result.objects[0])
    found = [each async for each in client.feedback.export()]
    assert len(found) == 4
    photos = {each.feedback.image_id: each.image for each in found if each.image is not None}
    assert photos == {hashlib.sha256(photo).hexdigest(): photo for photo in (RED_PHOTO, GREEN_PHOTO)}
    assert [each.image is None for each in found] == [False, True, False, True]
    chosen = [each async for each in client.feedback.export(kinds=[FeedbackKind.BOX])]
    assert [each.feedback.verdict.kind for each in chosen] == [FeedbackKind.BOX, FeedbackKind.BOX]
    assert all(each.image for each in chosen)


async def test_an_export_that_nobody_reads_takes_no_place_and_ends_in_time(start: Callable[..., Any]) -> None:
    longest, photos = 2.0, 12
    caller = await start(lookup_in_flight=1, lookup_queue=0, max_deadline=longest)
    # The window stays at HTTP/2's 64 KiB, so that few photos are on their way.
    window = [("grpc.http2.bdp_probe", 0)]
    async with (
        AsyncClient(caller.address, timeout=30) as client,
        grpc.aio.insecure_channel(caller.address, options=window) as channel,
    ):
        await client.put_item(NewItem("red", [RED_PHOTO]))
        for number in range(photos):
            await client.feedback.give(noise(600, 400 + number), "r1", Verdict.missed(Box(0, 0, 9, 9)))
        stub: Any = FeedbackServiceStub(channel)
        export = stub.Export(ExportFeedbackRequest())
        await export.read()
        stalled = time.monotonic() + longest
        # The service's clock is this one: it has given up by then.
        while time.monotonic() < stalled + 0.5:
            assert (await client.get("red")).item_id == "red"
        with pytest.raises(grpc.aio.AioRpcError, match="nothing of the export was read for 2 s"):
            await read_on(export)
        assert await export.code() is StatusCode.DEADLINE_EXCEEDED
        assert len([each async for each in client.feedback.export()]) == photos


async def read_on(export: Any) -> None:
    while await export.read() is not grpc.aio.EOF:
        pass


async def test_deleting_takes_the_photos_that_nothing_else_refers_to(client: AsyncClient, world: World) -> None:
    # The red one is in the catalogue; the other one is not.
    await right(client, RED_PHOTO)
    await right(client, BOTH)
    both = hashlib.sha256(BOTH).hexdigest()
    checks = Verification(world.metadata, world.images, world.index)
    world.images.written_at[both] = datetime.now(UTC) - timedelta(days=1)
    shards = {checked.shard: checked async for checked in checks.images()}
    assert set(shards) == set(SHARDS)
    assert not any(checked.unreferenced or checked.lost for checked in shards.values())
    assert await client.feedback.delete(caller=SOMEBODY) == 2
    assert await listed(client) == []
    assert await client.feedback.delete(caller=SOMEBODY) == 0
    await Retention(world.feedback, world.images, days=1, longest_write=0).round()
    assert set(world.images.images) == {hashlib.sha256(photo).hexdigest() for photo in (RED_PHOTO, GREEN_PHOTO)}


async def test_a_photo_goes_with_its_feedback_and_the_reference_made_of_it_stays(
    client: AsyncClient, world: World
) -> None:
    whole, part = Box(0, 0, 320, 240), Box(10, 10, 90, 90)
    given = [await client.feedback.give(BOTH, "r1", Verdict.missed(box, "red")) for box in (whole, part)]
    references = {(await client.feedback.add_reference(each.feedback_id)).image_id for each in given}
    retention = Retention(world.feedback, world.images, days=1, longest_write=0)
    await client.feedback.delete([given[0].feedback_id])
    await retention.round()
    # The other verdict refers to the photo still.
    assert hashlib.sha256(BOTH).hexdigest() in world.images.images
    await client.feedback.delete(caller=SOMEBODY)
    await retention.round()
    catalogue = {hashlib.sha256(photo).hexdigest() for photo in (RED_PHOTO, GREEN_PHOTO)}
    assert set(world.images.images) == catalogue | references
    assert len(references) == 2


async def test_a_reference_that_no_item_got_goes_too(
    client: AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await right(client, RED_PHOTO, feedback_id="one")
    before = set(world.images.images)
    write = world.images.write

    async def and_its_answer_is_lost(image_id: str, data: bytes) -> None:
        await write(image_id, data)
        raise DependencyUnavailable("gone")

    monkeypatch.setattr(world.images, "write", and_its_answer_is_lost)
    with pytest.raises(UnavailableError):
        await client.feedback.add_reference("one")
    assert len(world.images.images) == len(before) + 1
    await Retention(world.feedback, world.images, days=1, longest_write=0).round()
    assert set(world.images.images) == before


async def test_a_photo_whose_verdict_was_refused_goes_too(client: AsyncClient, world: World) -> None:
    await right(client, feedback_id="one")
    with pytest.raises(ConflictError):
        await right(client, BOTH, feedback_id="one")
    both = hashlib.sha256(BOTH).hexdigest()
    assert both in world.images.images
    await Retention(world.feedback, world.images, days=1, longest_write=0).round()
    assert both not in world.images.images


async def test_deletes_by_id_and_wants_one_way_to_say_what(client: AsyncClient) -> None:
    await right(client, feedback_id="one")
    await right(client, GREEN_PHOTO, feedback_id="two")
    assert await client.feedback.delete(["one", "gone"]) == 1
    assert [each.feedback_id for each in await listed(client)] == ["two"]
    for wrong in ({}, {"feedback_ids": ["two"], "caller": SOMEBODY}):
        with pytest.raises(InvalidArgumentError, match="say what to delete"):
            await client.feedback.delete(**wrong)  # type: ignore[arg-type]


async def test_a_confirmed_object_becomes_a_reference_image_once(client: AsyncClient) -> None:
    result = await client.search(BOTH)
    about = {hit.hits[0].item_id: hit for hit in result.objects}
    given = await client.feedback.give(BOTH, "r1", Verdict.right("red"), about["red"])
    before = await client.get("red")
    added = await client.feedback.add_reference(given.feedback_id)
    assert (added.item_id, added.added) == ("red", True)
    after = await client.get("red", include_image_data=True)
    assert [image.image_id for image in after.images] == [*(image.image_id for image in before.images), added.image_id]
    box = about["red"].box
    reference = after.images[-1]
    # A box's pixels are counted from the one that it begins in to the one that it ends in.
    assert reference.width == pytest.approx(box.x2 - box.x1, abs=2)
    assert reference.height == pytest.approx(box.y2 - box.y1, abs=2)
    assert reference.data is not None
    assert reference.data.startswith(b"\x89PNG")
    assert [each.reference_id for each in await listed(client)] == [added.image_id]
    again = await client.feedback.add_reference(given.feedback_id)
    assert (again.image_id, again.added) == (added.image_id, False)
    assert len((await client.get("red")).images) == 2


async def test_a_reference_whose_mark_was_lost_is_not_added_twice(client: AsyncClient, world: World) -> None:
    await right(client, RED_PHOTO, feedback_id="killed")
    first = await client.feedback.add_reference("killed")
    # As a process leaves it that is killed between the put and the mark.
    await world.feedback.set_reference("killed", "")
    again = await client.feedback.add_reference("killed")
    assert (again.image_id, again.added) == (first.image_id, False)
    assert len((await client.get("red")).images) == 2


async def test_a_reference_that_somebody_took_out_stays_out(client: AsyncClient) -> None:
    await right(client, RED_PHOTO, feedback_id="once")
    await client.feedback.add_reference("once")
    await client.put_item(NewItem("red", [RED_PHOTO]))
    assert not (await client.feedback.add_reference("once")).added
    assert len((await client.get("red")).images) == 1


async def test_what_confirms_no_item_is_no_reference(client: AsyncClient) -> None:
    result = await client.search(RED_PHOTO)
    wrong = await client.feedback.give(RED_PHOTO, "r1", Verdict.wrong("red"), result.objects[0])
    with pytest.raises(WrongStateError, match="does not say which item"):
        await client.feedback.add_reference(wrong.feedback_id)
    gone = await client.feedback.give(RED_PHOTO, "r1", Verdict.item("never"), result.objects[0])
    with pytest.raises(NotFoundError, match="'never'"):
        await client.feedback.add_reference(gone.feedback_id)
    with pytest.raises(NotFoundError, match="no feedback"):
        await client.feedback.add_reference("nothing")


def noise(width: int, height: int, quality: int = 60) -> bytes:
    """A JPEG whose pixels a PNG can't compress."""
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


@pytest.mark.parametrize(("most", "size"), [(16 * 2**20, (2048, 1024)), (4 * 2**20, (1024, 512))])
async def test_a_reference_has_no_more_bytes_than_an_image_may(
    start: Callable[..., Any], most: int, size: tuple[int, int]
) -> None:
    large = noise(3000, 1500)
    assert len(large) < most
    async with AsyncClient((await start(max_image_bytes=most)).address, timeout=60) as client:
        await client.put_item(NewItem("red", [RED_PHOTO]))
        given = await client.feedback.give(large, "r1", Verdict.missed(Box(0, 0, 3000, 1500), "red"))
        added = await client.feedback.add_reference(given.feedback_id)
        reference = (await client.get("red", include_image_data=True)).images[-1]
    assert (reference.image_id, reference.width, reference.height) == (added.image_id, *size)
    assert reference.data is not None
    assert len(reference.data) <= most


@pytest.mark.parametrize("later", [Verdict.wrong("red"), Verdict.item("green")])
async def test_what_a_later_verdict_takes_back_is_no_reference(client: AsyncClient, later: Verdict) -> None:
    result = await right(client, RED_PHOTO, feedback_id="first")
    # Another photo's, and the same item once more, take nothing back.
    other = await client.search(BOTH)
    await client.feedback.give(BOTH, "r1", Verdict.item("green"), other.objects[0])
    await client.feedback.give(RED_PHOTO, "r1", Verdict.item("red"), result.objects[0], feedback_id="again")
    await client.feedback.give(RED_PHOTO, "r1", later, result.objects[0], feedback_id="later")
    for taken_back in ("first", "again"):
        with pytest.raises(WrongStateError, match="'later' later took that back"):
            await client.feedback.add_reference(taken_back)
    assert len((await client.get("red")).images) == 1
    # Whoever has erred deletes it.
    await client.feedback.delete(["later"])
    assert (await client.feedback.add_reference("first")).added


async def test_callers_see_and_delete_their_own_and_an_admin_all(start: Callable[..., Any], tmp_path: Path) -> None:
    # Its name is that of its token.
    other = entry("ingest", TOKENS["ingest"], roles=["search"])
    entries = entry("search", TOKENS["search"]), other, entry("admin", TOKENS["admin"])
    address = (await start(callers=str(write(tmp_path / "callers.json", *entries)))).address

    def connected(token: str) -> AsyncClient:
        return AsyncClient(address, token=TOKENS[token], timeout=30)

    async with connected("search") as mine, connected("ingest") as others, connected("admin") as admin:
        await admin.put_item(NewItem("red", [RED_PHOTO]))
        # The same of both: each has its own.
        await right(mine)
        await right(others)
        assert [each.caller for each in await listed(mine)] == ["search"]
        assert sorted(each.caller for each in await listed(admin)) == ["ingest", "search"]
        [theirs] = await listed(others)
        assert await mine.feedback.delete([theirs.feedback_id]) == 0
        for denied in (listed(mine, caller="ingest"), mine.feedback.delete(caller="ingest")):
            with pytest.raises(NotFoundError, match="an admin sees all"):
                await denied
        for forbidden in (mine.feedback.report(), mine.feedback.add_reference(theirs.feedback_id)):
            with pytest.raises(ForbiddenError):
                await forbidden
        with pytest.raises(ForbiddenError):
            await anext(mine.feedback.export())
        assert await mine.feedback.delete(caller="search") == 1
        assert await admin.feedback.delete(caller="ingest") == 1
        assert await listed(admin) == []


async def test_a_photo_is_named_by_its_id_by_whoever_gave_it(start: Callable[..., Any], tmp_path: Path) -> None:
    other = entry("ingest", TOKENS["ingest"], roles=["search"])
    entries = entry("search", TOKENS["search"]), other, entry("admin", TOKENS["admin"])
    address = (await start(callers=str(write(tmp_path / "callers.json", *entries)))).address

    def connected(token: str) -> AsyncClient:
        return AsyncClient(address, token=TOKENS[token], timeout=30)

    async with connected("search") as mine, connected("ingest") as others, connected("admin") as admin:
        await admin.put_item(NewItem("red", [RED_PHOTO]))
        result = await right(mine, BOTH)
        for caller, photo, known in (
            (mine, BOTH, True),
            (admin, BOTH, True),
            # Nobody learns whether the service has another one's photo, nor keeps it beyond that one's deletion.
            (others, BOTH, False),
            # One of the catalogue alone is of no feedback.
            (mine, RED_PHOTO, False),
        ):
            said = StoredImage(hashlib.sha256(photo).hexdigest()), "r1", Verdict.item("red"), result.objects[0]
            if known:
                assert (await caller.feedback.give(*said)).created
            else:
                with pytest.raises(NotFoundError, match="send its bytes"):
                    await caller.feedback.give(*said)
        # Who has the bytes needs nobody's leave, and has given them from then on.
        await others.feedback.give(BOTH, *said[1:])
        await others.feedback.give(StoredImage(hashlib.sha256(BOTH).hexdigest()), "r1", Verdict.item("x"), said[3])


async def test_suspicious_answers_are_kept_behind_the_answer_where_asked_for(
    start: Callable[..., Any], world: World
) -> None:
    address = (await start(suspect_share=1.0, suspect_similarity=0.5, suspect_margin=0.01)).address
    async with AsyncClient(address, timeout=30) as client:
        await client.put_item(NewItem("red", [RED_PHOTO]))
        await client.search(RED_PHOTO)
        await client.search(GREY_PHOTO)
        await until(lambda: len(world.metadata.feedback) == 1)
        # The same once more is not kept twice, and the one before is certain of its hit.
        await client.search(GREY_PHOTO)
        await client.put_item(NewItem("same red", [RED_PHOTO]))
        await client.search(RED_PHOTO)
        await until(lambda: len(world.metadata.feedback) == 2)
        found = await listed(client)
    assert [each.verdict.kind for each in found] == [FeedbackKind.NARROW_MARGIN, FeedbackKind.NOTHING_DETECTED]
    assert [each.caller for each in found] == [SOMEBODY, SOMEBODY]
    assert [each.success for each in found] == [None, None]


async def test_by_default_nothing_is_kept_that_nobody_said(client: AsyncClient, world: World) -> None:
    await asyncio.gather(*(client.search(GREY_PHOTO) for _ in range(5)))
    assert world.metadata.feedback == {}
