"""Each failure to reach a KFP server is one line with the right exit code."""

import json
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from pipeline import server
from qc_core.cli.main import main
from tests.pipeline.kfp_server import KFP, answer, serve

pytestmark = pytest.mark.usefixtures("no_cluster")

LIST = ["schedule", "list"]
TOKEN = "eyJhbGciOiJSUzI1NiJ9.c2VjcmV0.c2lnbmF0dXJl"


def refusal(capsys: pytest.CaptureFixture[str], code: int, arguments: list[str] = LIST) -> str:
    """Runs a command that fails; returns its one line of output."""
    assert main(arguments) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    return line


def test_closed_port_is_an_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("KFP_ENDPOINT", url)
    assert refusal(capsys, 1) == (
        f"qc: the KFP server at {url} cannot be reached: Connection refused"
    )


def test_server_that_does_not_answer_is_an_error(
    kfp: KFP, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "TIMEOUT", (1.0, 0.05))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("KFP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "did not answer within 1 s to connect and 0.05 s to reply" in refusal(capsys, 1)


@pytest.mark.parametrize(
    ("status", "said", "code", "expected"),
    [
        (403, '{"code": 7, "message": "User not authorized", "details": []}', 2, "not authorized"),
        (404, "404 page not found", 2, "there is no KFP API below"),
        (
            500,
            '{"code": 13, "message": "Database\\nis gone", "details": []}',
            1,
            "Database is gone",
        ),
        (502, "<html>bad gateway</html>", 1, "(502)"),
        (400, '{"error_message": "Bad\\nname"}', 2, "refuses the request: Bad name"),
        (200, "<html>Log in</html>", 2, "a login page?"),
        (200, "[1, 2", 2, "that is not from KFP"),
        (302, "", 2, "a redirect (302"),
    ],
)
def test_http_error_has_the_message_of_the_server(
    kfp: KFP,
    capsys: pytest.CaptureFixture[str],
    status: int,
    said: str,
    code: int,
    expected: str,
) -> None:
    kfp.fail("GET", "/healthz$", answer(status, said, "text/html"))
    line = refusal(capsys, code)
    assert expected in line and kfp.url in line
    assert kfp.requests == ["GET /apis/v2beta1/healthz"]


def test_valid_token_is_accepted(kfp: KFP, monkeypatch: pytest.MonkeyPatch) -> None:
    kfp.token = TOKEN
    monkeypatch.setenv("KFP_TOKEN", TOKEN)
    assert main(LIST) == 0


def test_missing_token_is_an_error(kfp: KFP, capsys: pytest.CaptureFixture[str]) -> None:
    kfp.token = TOKEN
    assert "asks for a token (401" in refusal(capsys, 2)


def test_refused_token_is_not_printed(
    kfp: KFP, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp.token = "another"
    monkeypatch.setenv("KFP_TOKEN", TOKEN)
    line = refusal(capsys, 2)
    # The message of the server contains it.
    assert "refuses the token" in line and "no valid token in 'Bearer ***'" in line
    assert TOKEN not in line


def test_projected_token_of_a_pod_is_read_for_each_request(
    kfp: KFP, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(file))
    kfp.token = "first"
    file.write_text("first\n")
    with server.connect() as opened:
        kfp.token = "second"
        file.write_text("second\n")
        assert opened.pipelines.pipeline_service_list_pipeline_versions("0" * 36, page_size=1)


def test_multi_user_server_needs_a_namespace(kfp: KFP, capsys: pytest.CaptureFixture[str]) -> None:
    kfp.multi_user = True
    assert "--namespace NS" in refusal(capsys, 2)
    assert main(["submit", "smoke", "--namespace", "anna"]) == 0
    assert [p["namespace"] for p in kfp.pipelines.values()] == ["anna"]
    assert [e["namespace"] for e in kfp.experiments.values()] == ["anna"]


def test_single_user_server_refuses_a_namespace(
    kfp: KFP, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "leave out --namespace, got anna" in refusal(capsys, 2, [*LIST, "--namespace", "anna"])


def test_private_certificate_authority_is_trusted_if_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate := own_certificate(tmp_path))
    with serve(context) as kfp:
        monkeypatch.setenv("KFP_ENDPOINT", kfp.url)
        assert "certificate verify failed" in (line := refusal(capsys, 2)) and "KFP_CA_FILE" in line
        monkeypatch.setenv("KFP_CA_FILE", str(certificate))
        assert main(LIST) == 0


def own_certificate(folder: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one file."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    address: Any = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "own.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def test_json_output_has_the_run_and_its_page(kfp: KFP, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "smoke", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["run"] in kfp.runs and content["url"].endswith(content["run"])


def test_qc_info_reports_whether_the_server_answers(
    kfp: KFP, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["info"]) == 0
    assert f"{kfp.url} answers" in capsys.readouterr().out
    monkeypatch.setenv("KFP_ENDPOINT", "http://127.0.0.1:1")
    assert main(["info"]) == 0
    assert "does not answer" in capsys.readouterr().out
