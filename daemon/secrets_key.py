"""Where the key of the secrets is looked for: the environment, systemd's credentials, the configuration, the log."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

from ..engine.errors import WrongSetting
from ..engine.log.sealing import SecretsKey
from ..engine.log.secrets_key import KeyFile, KeySource

VARIABLE: Final = "STATIONKEEPER_SECRETS_KEY"
CREDENTIAL: Final = "stationkeeper-secrets-key"
"""Its name in a unit's `LoadCredential=` or `LoadCredentialEncrypted=`."""


def find_key_source(file: Path | None, environ: MutableMapping[str, str] | None = None) -> KeySource | None:
    """Return the key, or the file that holds it; none: the file beside the log.

    In this order: `STATIONKEEPER_SECRETS_KEY`; the systemd credential `stationkeeper-secrets-key`; *file*, which is
    `[log] secrets_key_file`. The variable is taken out of the environment, so that no child process inherits it.

    Raises:
        WrongSetting: what is there is no key, or cannot be read.
    """
    environ = os.environ if environ is None else environ
    text = environ.pop(VARIABLE, None)
    if text is not None:
        return SecretsKey.parse(text, f"the environment's {VARIABLE}")
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if folder and (credential := Path(folder) / CREDENTIAL).exists():
        try:
            return SecretsKey.parse(credential.read_text("ascii", "replace"), f"the credential {CREDENTIAL}")
        except OSError as error:
            raise WrongSetting(f"the credential {CREDENTIAL} cannot be read: {error.strerror}") from error
    return None if file is None else KeyFile(file)
