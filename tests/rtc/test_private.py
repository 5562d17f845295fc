"""Fails when aiortc or aioice change one of the private names that server/rtc/private.py and private_ice.py rely on."""

from __future__ import annotations

import inspect
import re

import aioice.ice
import aiortc.rtcrtpsender
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection

from server.rtc import private, private_ice


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


def source(function: object) -> str:
    return inspect.getsource(function)  # type: ignore[arg-type]


def test_the_history_is_a_module_constant_that_the_sender_reads_as_it_sends() -> None:
    private.lengthen_history()
    assert aiortc.rtcrtpsender.RTP_HISTORY_SIZE == 1024
    for method in ("_run_rtp", "_retransmit"):
        assert "% RTP_HISTORY_SIZE" in source(getattr(aiortc.rtcrtpsender.RTCRtpSender, method))


def test_the_senders_feedback_goes_through_the_methods_that_are_replaced() -> None:
    sender = aiortc.rtcrtpsender.RTCRtpSender
    assert parameters(sender._handle_rtcp_packet) == ["self", "packet"]
    assert parameters(sender._send_keyframe) == ["self"]
    assert "self._send_keyframe()" in source(sender._handle_rtcp_packet)
    assert "recipient._handle_rtcp_packet(packet)" in source(aiortc.rtcdtlstransport.RTCDtlsTransport._handle_rtcp_data)


def test_aioice_calls_the_methods_that_are_replaced() -> None:
    connection = aioice.ice.Connection
    assert parameters(connection.check_incoming) == ["self", "message", "addr", "protocol"]
    assert parameters(connection.data_received) == ["self", "data", "component"]
    assert parameters(connection.query_consent) == ["self"]
    assert parameters(connection.build_request) == ["self", "pair", "nominate"]
    assert parameters(connection.get_component_candidates)[:3] == ["self", "component", "addresses"]
    assert "self.check_incoming(message, addr, protocol)" in source(connection.request_received)
    assert "self.receiver.data_received(data, " in source(aioice.ice.StunProtocol.datagram_received)
    assert "create_task(self.query_consent())" in source(connection.connect)
    assert "self.get_component_candidates(component=component, addresses=addresses)" in source(
        connection.gather_candidates
    )


def test_the_authentication_of_checks_comes_before_we_hear_of_them() -> None:
    received = source(aioice.ice.Connection.request_received)
    assert received.index("check_message_integrity") < received.index("self.check_incoming(")


def test_aioices_protocol_asks_of_its_socket_what_a_shared_one_has() -> None:
    protocol = aioice.ice.StunProtocol
    assert parameters(protocol.__init__) == ["self", "receiver"]
    assert parameters(protocol.connection_made) == ["self", "transport"]
    assert parameters(aioice.ice.Connection.request_received) == ["self", "message", "addr", "protocol"]
    used = set(re.findall(r"transport\.(\w+)", source(protocol)))
    assert used <= {"sendto", "close"}
    for needed in ("self.transactions[request.transaction_id] = transaction", "del self.transactions["):
        assert needed in source(protocol.request)
    assert "await protocol.close()" in source(aioice.ice.Connection.close)


def test_candidates_are_made_as_aioice_makes_them() -> None:
    assert parameters(aioice.ice.server_reflexive_candidate) == ["protocol", "stun_server"]
    assert set(parameters(aioice.ice.relayed_candidate)) == {
        "component",
        "hide_related_address",
        "protocol_factory",
        "turn_server",
        "turn_username",
        "turn_password",
        "turn_ssl",
        "turn_transport",
    }


async def test_a_connection_has_every_attribute_that_is_touched() -> None:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        transceiver = pc.addTransceiver("video")
        transport = transceiver.receiver.transport.transport
        connection = transport._connection
        assert isinstance(connection, aioice.ice.Connection)
        assert connection._queue.qsize() == 0
        assert connection._nominated == {}
        assert connection._protocols == []
        assert connection._query_consent_task is None
        assert "self.__connect()" in source(RTCPeerConnection.setLocalDescription)
        assert "self._local_username" in source(type(connection).local_username.fget)
        assert transport.iceGatherer.getLocalParameters().usernameFragment == connection._local_username
        private.OwnedConnect(pc)
        private_ice.watch_ice(transport, lambda: None)
        private.watch_feedback(
            transceiver.sender, heard=lambda: None, key_wanted=lambda: None, estimate=lambda bitrate: None
        )
    finally:
        await pc.close()


def test_a_name_that_has_gone_is_an_error_and_not_a_silent_attribute() -> None:
    with pytest.raises(private.PrivateNameChangedError, match="_gone"):
        private.override(object(), "_gone", 1)


async def test_data_channels_have_every_name_that_is_touched() -> None:
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        pc.createDataChannel("chat")
        sctp = pc.sctp
        assert parameters(sctp._handle_data) == ["data"]
        assert sctp._inbound_streams == {}
        assert sctp._inbound_streams_max > private.MAX_STREAMS
        assert sctp._sack_misordered == set()
        assert aiortc.rtcsctptransport.InboundStream().reassembly == []
        private.bound_data(sctp, lambda: None)
        assert sctp._inbound_streams_max == private.MAX_STREAMS
    finally:
        await pc.close()
    assert "self._data_receiver._handle_data(data)" in source(aiortc.rtcdtlstransport.RTCDtlsTransport._recv_next)
    assert "_inbound_streams_max" in source(aiortc.rtcsctptransport.RTCSctpTransport._init)
