"""Masking: secrets go, hyperparameters stay."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tracelet.redaction.masking import MASK, looks_secret, mask_arguments, mask_text, mask_tokens, mask_url

SECRET_NAMES = [
    "token",
    "hf_token",
    "hfToken",
    "HF_TOKEN",
    "use_auth_token",
    "auth_tokens",
    "WANDB_API_KEY",
    "wandbApiKey",
    "apikey",
    "api-key",
    "openai_key",
    "logger.wandb.api_key",
    "password",
    "db_password",
    "DB_PASSWD",
    "passphrase",
    "client_secret",
    "aws_secret_access_key",
    "credentials",
    "aws_access_key_id",
    "private_key",
    "ssh_key",
    "db_pass",
    "pwd",
    "jwt",
    "slack_webhook_url",
    "Authorization",
]
PLAIN_NAMES = [
    "lr",
    "max_tokens",
    "num_tokens",
    "tokens",
    "pad_token",
    "eos_token_id",
    "cls_token",
    "dist_token",
    "tokenizer",
    "token_dim",
    "token_dropout",
    "key_dim",
    "num_key_value_heads",
    "sort_key",
    "key",
    "keys",
    "monkey",
    "forward_pass",
    "passes",
    "author",
    "hidden_size",
    "password_file",
    "api_key_path",
    "tokenizer_path",
    "basis",
    "sas_like",
    "compass",
    "bypass",
    "step_size",
    "n_token",
    "secret_dim",
    "token_type",
    "password_length",
    "NoCredentialsError",
]

secrets = st.text(string.ascii_letters + string.digits + "_+/!$%", min_size=8, max_size=40).filter(
    lambda text: any(character.isdigit() for character in text)
)
TOKENS = (
    "ghp_" + "a1B2" * 9, "github_pat_" + "x1" * 20, "glpat-" + "a1" * 10, "hf_" + "Ab1" * 11, "AKIA" + "ABCD1234" * 2,
    "sk-proj-" + "a1" * 12, "sk-ant-api03-" + "a1" * 12, "xoxb-1234567890-abc", "AIza" + "a1b2c" * 7,
    "eyJhbGciOiJI.eyJzdWIiOiIx.abc-_1", "dop_v1_" + "0a" * 32, "AGE-SECRET-KEY-1" + "QZ" * 29,
    "1234567890:A" + "Ab-1" * 8 + "xy", "M" + "a1" * 12 + ".abc-12." + "b2" * 14, "xapp-1-A0-" + "a1" * 8,
    "gsk_" + "a1" * 20, "hvs." + "a1" * 12, "nvapi-" + "a1" * 24, "0a" * 16 + "-us12", "dckr_pat_" + "a1" * 12,
    "whsec_" + "a1" * 12, "GOCSPX-" + "a1" * 12, "glrt-" + "a1" * 10, "wandb_v1_" + "a1" * 15,
    "local-" + "0123456789" * 4, "dapi" + "0a" * 16,
)  # fmt: skip


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_name_that_says_secret_is_known(name: str) -> None:
    """Names of keys, tokens and passwords are secret in every spelling, as a flag too."""
    assert looks_secret(name)
    assert looks_secret("--" + name)


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_hyperparameters_of_language_models_are_no_secrets(name: str) -> None:
    """Names that only resemble those of secrets stay readable."""
    assert not looks_secret(name)


@given(st.sampled_from(SECRET_NAMES), secrets)
def test_no_form_of_argument_lets_a_secret_through(name: str, secret: str) -> None:
    """`--name X`, `--name=X`, `name=X`, `+name=X` and JSON all lose X and keep the rest."""
    given_arguments = ["train.py", f"--{name}", secret, f"--{name}={secret}", f"{name}={secret}", f"+{name}={secret}"]
    given_arguments += [f'{{"lr": 0.1, "{name}": "{secret}"}}', "--lr", "0.1"]
    masked = mask_arguments(given_arguments)
    assert len(masked) == len(given_arguments)
    assert not any(secret in argument.replace(name, "") for argument in masked)
    assert masked[0] == "train.py"
    assert masked[-2:] == ["--lr", "0.1"]


@given(st.lists(st.text(max_size=60), max_size=8))
@example(["--token", "--lr", "1"])
@example(["a=b=c", "=", "--=", "-", "--", "''=", "a[0]=1"])
def test_masking_takes_any_arguments_and_is_settled_after_once(argv: list[str]) -> None:
    """It never raises, never adds or drops an argument, and changes nothing the second time."""
    once = mask_arguments(argv)
    assert len(once) == len(argv)
    assert mask_arguments(once) == once


@given(st.text(max_size=200))
@example("token='" * 3)
@example("a://b:c@d://e@f")
@example("Bearer token=abc123def456")
@example('token="""a\nb""" token=\'\'\'a\ntoken=b"c')
@example('token="\n token="a\\\n')
def test_masking_text_is_settled_after_once(text: str) -> None:
    """Masked text is masked text."""
    assert mask_text(mask_text(text)) == mask_text(text)


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("around", ["{}", "x = '{}'", "--thing={}", "https://host/{}/x", "a\n{}\nb", "({})"])
def test_a_token_of_known_shape_is_masked_wherever_it_stands(token: str, around: str) -> None:
    """A token is known by its shape, without any name beside it."""
    text = around.format(token)
    assert token not in mask_text(text)
    assert mask_tokens(text) == around.format(MASK)
    assert token not in mask_arguments([text])[0]


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("https://user:pw@host/team/repo.git", "https://***@host/team/repo.git"),
        ("https://ghp_token@host/repo", "https://***@host/repo"),
        ("https://u:p@ss@host/repo", "https://***@host/repo"),
        ("https://u:p/w?x#y@host/repo", "https://***@host/repo"),
        ("postgresql://u:p@db:5432/x", "postgresql://***@db:5432/x"),
        ("https://host/x?api_key=abc&n=1", "https://host/x?api_key=***&n=1"),
        ("ssh://git@host/repo.git", "ssh://git@host/repo.git"),
        ("ssh://git:pw@host/repo.git", "ssh://***@host/repo.git"),
        ("git@host:team/repo.git", "git@host:team/repo.git"),
        ("https://host:8080/pkg@1.2/x", "https://host:8080/pkg@1.2/x"),
        ("https://[::1]:80/x", "https://[::1]:80/x"),
        ("https://hooks.slack.com/services/T0/B0/abcdefgh", "https://hooks.slack.com/***"),
        ("https://discord.com/api/webhooks/12/abcdefgh-i", "https://discord.com/api/webhooks/***"),
        ("https://acme.webhook.office.com/webhookb2/0-a@b/xyz", "https://acme.webhook.office.com/webhookb2/***"),
        (
            "https://a.blob.core.windows.net/c?sv=1&sig=abc%2Bdef%3D&se=2",
            "https://a.blob.core.windows.net/c?sv=1&sig=***&se=2",
        ),
        (
            "https://b.s3.amazonaws.com/k?X-Amz-Date=1&X-Amz-Signature=0a1b2c3d",
            "https://b.s3.amazonaws.com/k?X-Amz-Date=1&X-Amz-Signature=***",
        ),
        ("https://host/x?signature=short&sigma=0.123456789", "https://host/x?signature=short&sigma=0.123456789"),
        ("/srv/repo", "/srv/repo"),
    ],
)
def test_addresses_lose_credentials_and_nothing_else(address: str, masked: str) -> None:
    """User, password and secret query values go; hosts, ports, paths and the plain ssh user stay."""
    assert mask_url(address) == masked
    assert mask_arguments([address]) == [masked]


def test_arguments_without_secrets_are_left_as_they_are() -> None:
    """A usual command line comes out unchanged."""
    argv = ["train.py", "--lr", "1e-3", "model=vit", "optim.betas=[0.9,0.99]", "--max_tokens", "512", "-v", "--resume"]
    argv += ["--world_info=eyJsb2NhbGhvc3QiOiBbMF19", "data/a b.csv", "sk-learn-is-no-token-at-all", "api_key=None"]
    argv += ["--commit", "3f786850e387550fdab836ed7e6dc881de23001b", "--use-auth-token", "--epochs", "3"]
    assert mask_arguments(argv) == argv


def test_key_like_flags_hide_what_looks_random_only() -> None:
    """`--key` before forty hexadecimal digits hides them, before a column's name it does not."""
    key = "0123456789abcdef0123456789abcdef01234567"
    assert mask_arguments(["--key", key, "login", key, "--key", "label", f"--sort-key={key}"]) == [
        "--key", MASK, "login", MASK, "--key", "label", f"--sort-key={MASK}",
    ]  # fmt: skip


def test_a_plural_flag_hides_all_its_values() -> None:
    """`--api-keys a b` hides both."""
    assert mask_arguments(["--api-keys", "a", "b", "--x", "c"]) == ["--api-keys", MASK, MASK, "--x", "c"]


def test_a_private_key_is_masked_even_when_it_is_cut_off() -> None:
    """The body of a PEM block goes, with or without its last line."""
    body = "MIIEpAIBAAKCAQEA\nsecretsecret\n"
    whole = f"x -----BEGIN RSA PRIVATE KEY-----\n{body}-----END RSA PRIVATE KEY----- y"
    assert mask_text(whole) == "x -----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY----- y"
    assert "secretsecret" not in mask_text(whole[:70])


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('password = """hunter22"""', 'password = """***"""'),
        ("password = '''hunter\n22'''\nlr = 1", "password = '''***'''\nlr = 1"),
        ('token = f"hunter22"', 'token = f"***"'),
        ('api_key: str = "hunter22"', 'api_key: str = "***"'),
        ('api_key: str | None = "hunter22"', 'api_key: str | None = "***"'),
        ("api_key: Optional[str] = None", "api_key: Optional[str] = None"),
        ('(password := "hunter22")', '(password := "***")'),
        ('if password == "hunter22":', 'if password == "***":'),
        ('SECRET="\nhunter22\n"\nlr=1', 'SECRET="***"\nlr=1'),
        ('password = "hunt\\\ner22"\nlr=1', 'password = "***"\nlr=1'),
    ],
)
def test_values_in_code_are_masked_however_they_are_assigned(text: str, masked: str) -> None:
    """Strings with prefixes, over several lines, behind an annotation: the value goes, the code around it stays."""
    assert mask_text(text) == masked


@pytest.mark.parametrize("text", ['password="{}\nloss 1\nloss 2', "password='{}\nprint('loss')", 'token="""{}\nloss 1'])
def test_a_quote_that_nobody_closes_ends_with_its_line(text: str) -> None:
    """What follows on later lines is not blacked out with the secret."""
    assert mask_text(text.format("hunter22")) == text.format(MASK)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("train.py --token hunter22 --lr 0.1", "train.py --token *** --lr 0.1"),
        ("train.py --token --lr 0.1", "train.py --token --lr 0.1"),
        ("AccountName=a;AccountKey=" + "Ab1+" * 10 + "==;x", "AccountName=a;AccountKey=***;x"),
        ("NoCredentialsError: Unable to locate credentials", "NoCredentialsError: Unable to locate credentials"),
        ("n_token: 512, secret_dim=64", "n_token: 512, secret_dim=64"),
    ],
)
def test_text_loses_its_secrets_and_nothing_else(text: str, masked: str) -> None:
    """Flags in a command line that is one string, and connection strings; words that only resemble secrets stay."""
    assert mask_text(text) == masked
    assert mask_text(masked) == masked
