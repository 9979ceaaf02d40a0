"""Configuration: one YAML file, the environment and flags become frozen, checked settings.

What the author of a collector gets by subclassing ``CollectorConfig``:

* **Secrets.** Type a field ``SecretStr | None`` (or :class:`exporter.config.secrets.SecretUrl` for
  a URL whose password alone is secret) and no message, log line or ``/-/config`` shows it, nor any value
  beside it in an error.
* **Secret files.** Next to a secret ``token`` declare ``token_file: Path | None = None``. The loader
  refuses both at once and puts the file's content into ``token`` before the model is validated.
  ``token_file`` stays set, absolute, so that a client can read it again after a rotation; a model must
  therefore not object to both being set.
* **Paths.** A field of type ``Path`` (or ``list[Path]``) arrives absolute: relative to the configuration
  file that names it, to the working directory when it comes from the environment or a flag.
* **Environment.** ``env_names`` and ``env_enables``; the systematic name of each key comes by itself.
* **Messages.** ``raise ValueError("must be …")`` in a validator becomes a problem at that key. Keep
  values out of the text when they might be secret.
"""
