"""A bank of spans of a native bundle through chimera.h."""

from __future__ import annotations

import ctypes as ct
from pathlib import Path
from typing import Final

from chimerac.runtime.errors import BundleError
from chimerac.runtime.sessions.native_library import NativeLibrary

_SKIP_CHECKSUMS: Final = 1
CERTIFICATE_BYTES: Final = 1119  #: as CHM_CERTIFICATE_BYTES of chimera.h


class NativeBank:
    """A file of spans, mapped."""

    def __init__(self, library: NativeLibrary, bundle: ct.c_void_p, path: Path, *, skip_checksums: bool) -> None:
        """Open a bank; raises BundleError CHM400 to CHM406, CHM414 for a bundle that is too old, CHM421, CHM434."""
        if not library.has_banks:
            hint = "build the bundle again"
            raise BundleError("CHM414", "the bundle is of a chimerac that had no banks of spans", hint=hint)
        self._library, self.handle = library, ct.c_void_p()
        flags = _SKIP_CHECKSUMS if skip_checksums else 0
        library.call("chm_bank_open_file", bundle, str(path).encode(), flags, None, ct.byref(self.handle))

    def __len__(self) -> int:
        return int(self._library.get("chm_bank_count", self.handle))

    def certificate(self, span: int) -> bytes:
        """What the record of a span claims, 1,119 bytes as docs/sfpack.md has them.

        Raises BundleError CHM414 for a bundle that is too old, CHM420 for a span that there is not, CHM434 where the
        record keeps the digest of another certificate.
        """
        if not self._library.has_certificates:
            message = "the bundle is of a chimerac that had no certificates of spans"
            raise BundleError("CHM414", message, hint="build the bundle again")
        found = (ct.c_uint8 * CERTIFICATE_BYTES)()
        self._library.call("chm_bank_certificate", self.handle, span, found, len(found))
        return bytes(found)

    def close(self) -> None:
        """Give it back, after the sessions; may be called again."""
        if self.handle:
            self._library.call("chm_bank_close", self.handle)
            self.handle = ct.c_void_p()
