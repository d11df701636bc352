// A web server of the smallest kind, so that the sample beside it needs no package: one request a connection, no bodies in.

import Foundation

#if canImport(Glibc)
    import Glibc
    private let stream = Int32(SOCK_STREAM.rawValue)
#else
    import Darwin
    private let stream = SOCK_STREAM
#endif

struct Answer: Sendable {
    var status: Int
    var body: String
}

/// Answers requests on a port of this host, which it returns, for as long as the program runs.
func serve(_ handler: @escaping @Sendable (_ method: String, _ path: String) async -> Answer) -> UInt16 {
    let listener = socket(AF_INET, stream, 0)
    var address = localhost(0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutableBytes(of: &address) { bytes in
        let address = bytes.bindMemory(to: sockaddr.self).baseAddress!
        precondition(bind(listener, address, length) == 0 && listen(listener, 64) == 0)
        precondition(getsockname(listener, address, &length) == 0)
    }
    Thread.detachNewThread {
        while true {
            let connection = accept(listener, nil, nil)
            let head = read(from: connection, until: "\r\n\r\n").split(separator: " ")
            Task {
                let answer = await handler(String(head[0]), String(head[1]))
                write("HTTP/1.1 \(answer.status) \r\nconnection: close\r\n\r\n\(answer.body)", to: connection)
                close(connection)
            }
        }
    }
    return UInt16(bigEndian: address.sin_port)
}

/// A request to that port.
func request(_ method: String, _ path: String, port: UInt16) async -> Answer {
    await withCheckedContinuation { answered in
        Thread.detachNewThread {
            let connection = socket(AF_INET, stream, 0)
            var address = localhost(port.bigEndian)
            withUnsafeMutableBytes(of: &address) { bytes in
                let address = bytes.bindMemory(to: sockaddr.self).baseAddress!
                precondition(connect(connection, address, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0)
            }
            write("\(method) \(path) HTTP/1.1\r\nhost: localhost\r\n\r\n", to: connection)
            let said = read(from: connection, until: nil)
            close(connection)
            let body = said.range(of: "\r\n\r\n").map { String(said[$0.upperBound...]) } ?? ""
            answered.resume(returning: Answer(status: Int(said.split(separator: " ")[1])!, body: body))
        }
    }
}

private func localhost(_ port: in_port_t) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    return address
}

private func write(_ text: String, to connection: Int32) {
    let bytes = Array(text.utf8)
    precondition(send(connection, bytes, bytes.count, 0) == bytes.count)
}

private func read(from connection: Int32, until end: String?) -> String {
    var (text, bytes) = ("", [UInt8](repeating: 0, count: 4096))
    while end.map(text.contains) != true, case let count = recv(connection, &bytes, bytes.count, 0), count > 0 {
        text += String(decoding: bytes[..<count], as: UTF8.self)
    }
    return text
}
