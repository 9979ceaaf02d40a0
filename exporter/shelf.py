"""A shelf: the rendered blocks of one family of one collector, joined and compressed in chunks."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.families import Family
from exporter.rendering import Block, deflated

_CHUNK_BYTES = 65_536  # rendered text that is compressed as one piece: small ones make a change cheap


class Chunk:
    """Blocks whose text is joined and compressed together; ``size`` is that text in bytes."""

    __slots__ = ("blocks", "packed", "plain", "size")

    def __init__(self) -> None:
        self.blocks: dict[str, Block] = {}
        self.size = 0
        self.plain: bytes | None = None
        self.packed: bytes | None = None

    def text(self) -> bytes:
        """All blocks, joined once per change."""
        if self.plain is None:
            self.plain = b"".join([block.text for block in self.blocks.values()])
        return self.plain

    def deflated(self) -> bytes:
        """:meth:`text` compressed, once per change."""
        if self.packed is None:
            self.packed = deflated(self.text())
        return self.packed


class Shelf:
    """The blocks of one family of one page; ``cut`` says how many lines of an entity found no room."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.lines = 0
        self.cut: dict[str, int] = {}
        self._chunk_of: dict[str, Chunk] = {}
        self._chunks: dict[Chunk, None] = {}
        self._roomy: dict[Chunk, None] = {}

    def get(self, entity: str) -> Block | None:
        """The block of *entity*, if it has one."""
        chunk = self._chunk_of.get(entity)
        return chunk.blocks[entity] if chunk else None

    def put(self, entity: str, block: Block | None) -> None:
        """Replace the block of *entity*, or remove it."""
        chunk = self._chunk_of.get(entity)
        if chunk is None:
            if block is None:
                return
            chunk = self._chunk_of[entity] = self._place()
        old = chunk.blocks.get(entity)
        if block is not None:
            chunk.blocks[entity] = block
            self.lines += block.lines
            chunk.size += len(block.text)
        else:
            del chunk.blocks[entity], self._chunk_of[entity]
        if old is not None:
            self.lines -= old.lines
            chunk.size -= len(old.text)
        chunk.plain = chunk.packed = None
        self._tidy(chunk)

    def _place(self) -> Chunk:
        """A chunk for a new entity: one with room, or a fresh one."""
        if not self._roomy:
            chunk = Chunk()
            self._chunks[chunk] = self._roomy[chunk] = None
        return next(iter(self._roomy))

    def _tidy(self, chunk: Chunk) -> None:
        """Note whether *chunk* has room: what comes and goes must not leave ever more small chunks."""
        if not chunk.blocks:
            self._chunks.pop(chunk)
            self._roomy.pop(chunk, None)
        elif chunk.size >= _CHUNK_BYTES:
            self._roomy.pop(chunk, None)
        elif chunk.size < _CHUNK_BYTES // 2:
            self._roomy[chunk] = None

    def entities(self) -> list[str]:
        """Everything that has a block, in no order."""
        return list(self._chunk_of)

    def blocks(self) -> Iterator[Block]:
        """All blocks in the order in which they are exposed."""
        for chunk in self._chunks:
            yield from chunk.blocks.values()

    def texts(self) -> list[bytes]:
        """The text of all chunks."""
        return [chunk.text() for chunk in self._chunks]

    def deflated(self) -> list[bytes]:
        """The text of all chunks, each compressed by itself."""
        return [chunk.deflated() for chunk in self._chunks]
