"""The shapes of credentials that are recognizable without a name beside them: a table, and its application to text.

Used only by `masking`, on any thread. The ideas come from detect-secrets 1.5 (Apache-2.0) and from the rules of
gitleaks 8 (MIT); docs/decisions/0108 says why neither is called. Add a row for a new kind of credential, with an
example in the test. A row's pattern runs only on text that contains one of its words, so a row costs almost nothing.
"""

from __future__ import annotations

import re
from functools import cache

MASKED = "***"

TOKENS: dict[str, tuple[str, str]] = {
    "GitHub": ("ghp_ gho_ ghu_ ghs_ ghr_ github_pat_", r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"),
    "GitLab": ("gl", r"gl(?:pat|dt|rt|cbt|ptt|agent|oas|soat)-[\w-]{16,}"),
    "Hugging Face": ("hf_ api_org_", r"hf_[A-Za-z0-9]{20,}|api_org_[A-Za-z0-9]{20,}"),
    "Weights & Biases": ("wandb_v local-", r"wandb_v\d_\w{20,}|local-[0-9a-f]{40}"),
    "Neptune": ("eyJhcGlf", r"eyJhcGlf[\w+/=-]{20,}"),
    "Replicate": ("r8_", r"r8_[A-Za-z0-9]{30,}"),
    "Amazon": ("AKIA ASIA AROA AIDA ABIA ACCA", r"(?:AKIA|ASIA|AROA|AIDA|ABIA|ACCA)[A-Z0-9]{16}"),
    "Google": ("AIza ya29. GOCSPX-", r"AIza[\w-]{35}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}"),
    "Alibaba": ("LTAI", r"LTAI[A-Za-z0-9]{16,24}(?![A-Za-z0-9])"),
    "DigitalOcean": ("_v1_", r"do[oprt]_v1_[0-9a-f]{40,}"),
    "OpenAI, Anthropic": ("sk- rk-", r"[sr]k-(?=[\w-]*\d)[\w-]{16,}"),
    "NVIDIA": ("nvapi-", r"nvapi-[\w-]{40,}"),
    "Groq, xAI, Perplexity": ("gsk_ xai- pplx-", r"(?:gsk_|xai-|pplx-)[A-Za-z0-9]{30,}"),
    "Stripe": ("k_live_ k_test_ whsec_", r"[srp]k_(?:live|test)_\w{10,}|whsec_[A-Za-z0-9+=]{20,}"),
    "Slack": ("xox xapp-", r"xox[abcdeoprs]-[\w-]{10,}|xapp-\d-[\w-]{10,}"),
    "Telegram": (":A", r"\d{5,16}:A[\w-]{34}(?![\w-])"),
    "Discord": (".", r"[MNO][\w-]{23,25}\.[\w-]{6}\.[\w-]{27,38}(?![\w-])"),
    "npm": ("npm_", r"npm_[A-Za-z0-9]{30,}"),
    "PyPI": ("pypi-AgE", r"pypi-AgE[\w-]{20,}"),
    "RubyGems": ("rubygems_", r"rubygems_[0-9a-f]{40,}"),
    "Docker": ("dckr_", r"dckr_(?:pat|oat)_[\w-]{20,}"),
    "Databricks": ("dapi", r"dapi[0-9a-f]{32}(?:-\d)?"),
    "SendGrid": ("SG.", r"SG\.[\w-]{16,}\.[\w-]{16,}"),
    "Mailchimp": ("-us", r"[0-9a-f]{32}-us\d{1,2}(?!\d)"),
    "Shopify": ("shp", r"shp(?:at|ca|pa|ss)_[0-9A-Fa-f]{32}"),
    "Atlassian": ("ATATT ATCTT ATBB", r"AT(?:ATT|CTT|BB)[A-Za-z0-9]{3}[\w=-]{20,}"),
    "HashiCorp": ("hvs. hvb. hvr. .atlasv1.", r"hv[sbr]\.[\w-]{20,}|[A-Za-z0-9]{14}\.atlasv1\.[\w=-]{60,}"),
    "Grafana": ("glsa_ glc_", r"glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}|glc_[A-Za-z0-9+/=]{32,}"),
    "Doppler": ("dp.", r"dp\.(?:pt|st|ct|sa|scim|audit)\.[\w.-]{20,}"),
    "Pulumi": ("pul-", r"pul-[0-9a-f]{40}"),
    "Linear": ("lin_api_", r"lin_api_[A-Za-z0-9]{40}"),
    "Postman": ("PMAK-", r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}"),
    "Sentry": ("sntry", r"sntry[su]_[\w+/=-]{40,}"),
    "Supabase": ("sbp_ sbs_", r"sb[ps]_[0-9a-f]{40}"),
    "PlanetScale": ("pscale_", r"pscale_(?:tkn|pw|oauth)_[\w.=-]{32,}"),
    "Tailscale": ("tskey-", r"tskey-[a-z]+-[\w-]{16,}"),
    "1Password": ("ops_eyJ", r"ops_eyJ[A-Za-z0-9+/=]{50,}"),
    "age": ("AGE-SECRET-KEY-", r"AGE-SECRET-KEY-1[0-9A-Z]{20,}"),
    "JSON web token": ("eyJ", r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*"),
}
"""Whole tokens: (words of which one is in it, pattern). Never the end of a longer word."""

PARTS: dict[str, tuple[str, str]] = {
    "Azure": ("key=", r"((?:Account|SharedAccess)Key=)[A-Za-z0-9+/%]{20,}={0,2}"),
    "signed address": (
        "sig= signature= credential= token= keyid= accessid= policy=",
        (
            r"([?&](?:amp;)?(?:sig|signature|x-(?:amz|goog|oss|cos)-(?:signature|credential|security-token)|q-signature|"
            r"awsaccesskeyid|googleaccessid|policy)=)[^&\s\"'<>#]{8,}"
        ),
    ),
    "Slack": ("hooks.slack", r"(hooks\.slack(?:-gov)?\.com/)(?:services|workflows|triggers)/[\w/+-]{8,}"),
    "Discord": ("/webhooks/", r"(discord(?:app)?\.com/api/(?:v\d+/)?webhooks/)\d+/[\w-]{8,}"),
    "Teams": (".office.com/webhook", r"(\.office\.com/webhook\w*/)[\w@/-]{8,}"),
    "Feishu, Lark": ("/open-apis/bot/", r"(/open-apis/bot/v\d/hook/)[\w-]{8,}"),
    "Zapier": ("hooks.zapier.com", r"(hooks\.zapier\.com/hooks/catch/)[\w/]{8,}"),
    "Telegram": ("api.telegram.org", r"(api\.telegram\.org/(?:file/)?bot)\d+:[\w-]{8,}"),
}
"""The same, in lower case, for credentials in what stays readable: the group."""


def mask_shapes(text: str) -> str:
    """The text with every credential of a known shape masked."""
    lowered = text.lower()
    for name, (words, _) in PARTS.items():
        if any(word in lowered for word in words.split()):
            text = _part(name).sub(rf"\1{MASKED}", text)
    for name, (words, _) in TOKENS.items():
        if any(word in text for word in words.split()):
            text = _token(name).sub(MASKED, text)
    return text


@cache
def _part(name: str) -> re.Pattern[str]:
    return re.compile(PARTS[name][1], re.IGNORECASE)


@cache
def _token(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9])(?:{TOKENS[name][1]})")
