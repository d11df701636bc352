// What the tests stand on: a real sidecar, and other processes.
//
// `SIDELOCK_BIN` names the binary. Everything lives in folders of the test run and ends with it.

import Foundation
import Sidelock

let binary = URL(fileURLWithPath: ProcessInfo.processInfo.environment["SIDELOCK_BIN"] ?? "/usr/bin/sidelock")
/// Where the tests' own programs were built.
let programs = Bundle.main.executableURL!.deletingLastPathComponent()

/// A running sidecar.
final class Place: Sendable {
    /// One that all tests share; they use keys of their own.
    static let shared = Place(folder: newFolder())

    let socket: String
    private let sidecar: Program

    /// Starts one, and returns when it takes requests.
    init(folder: String) {
        socket = "\(folder)/sidelock.sock"
        let serve = ["serve", "--store", "memory", "--socket", socket, "--admin-socket", "\(folder)/admin.sock"]
        // It goes when the pipe to the shell is closed, also if that is because this process crashed. The shell can not `wait`:
        // it may have been begun by a thread that hears of no signals.
        let shell = URL(fileURLWithPath: "/bin/sh")
        let script = #"""
            "$0" "$@" </dev/null >/dev/null 2>&1 &
            read _
            kill -9 $!
            while grep -qs '^State:.[^Z]' /proc/$!/status; do :; done
            """#
        sidecar = Program(shell, ["-c", script, binary.path] + serve)
        precondition(Program(binary, ["wait", "--timeout", "20s", "--socket", socket]).wait() == 0, "it serves")
    }

    func client(app: String? = nil, defaultWait: Duration? = nil, requireScope: Scope? = nil) throws -> Sidelock {
        try Sidelock(socket: socket, app: app, defaultWait: defaultWait, requireScope: requireScope)
    }

    /// Kills it; returns when it is gone.
    func kill() {
        sidecar.closeInput()
        _ = sidecar.wait()
    }

    /// How many wait for a key.
    func waiters(_ key: String) throws -> Int {
        let why = Program(binary, ["why", key, "--socket", socket, "-o", "json"])
        let shown = try JSONSerialization.jsonObject(with: why.rest())
        return ((shown as? [String: Any])?["queue"] as? [Any])!.count
    }

    /// Until so many wait for a key.
    func until(waiters wanted: Int, _ key: String) async throws {
        while try waiters(key) != wanted { try await Task.sleep(for: .milliseconds(5)) }
    }
}

/// Another process.
final class Program: @unchecked Sendable {
    private static let beginning = NSLock()
    private let process = Process()
    private let input: Pipe
    private let output: Pipe
    private let ended = DispatchSemaphore(value: 0)
    private var unread = Data()

    init(_ program: URL, _ arguments: [String] = [], environment: [String: String] = [:]) {
        process.executableURL = program
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        // What is begun by another test at this moment would have our ends of the pipes too, and nobody would see them close.
        Program.beginning.lock()
        defer { Program.beginning.unlock() }
        let (input, output) = (Pipe(), Pipe())
        for end in [input, output].flatMap({ [$0.fileHandleForReading, $0.fileHandleForWriting] }) {
            precondition(fcntl(end.fileDescriptor, F_SETFD, FD_CLOEXEC) == 0)
        }
        (self.input, self.output) = (input, output)
        process.standardInput = input
        process.standardOutput = output
        process.terminationHandler = { [ended] _ in ended.signal() }
        try! process.run()
    }

    func say(_ line: String) { input.fileHandleForWriting.write(Data("\(line)\n".utf8)) }

    func closeInput() { try! input.fileHandleForWriting.close() }

    /// The next line that it writes.
    func line() -> String {
        while true {
            if let end = unread.firstIndex(of: UInt8(ascii: "\n")) {
                defer { unread = Data(unread[unread.index(after: end)...]) }
                return String(decoding: unread[..<end], as: UTF8.self)
            }
            let more = output.fileHandleForReading.availableData
            precondition(!more.isEmpty, "it ended before it said a line")
            unread += more
        }
    }

    /// All that it writes until it ends.
    func rest() -> Data { output.fileHandleForReading.readDataToEndOfFile() }

    /// Its exit code, when it has ended.
    func wait() -> Int32 {
        ended.wait()
        ended.signal()
        return process.terminationStatus
    }

    /// SIGKILL.
    func kill() {
        _ = Foundation.kill(process.processIdentifier, SIGKILL)
        _ = wait()
    }
}

func newFolder() -> String {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("sidelock-swift-\(UUID().uuidString.prefix(8))")
    try! FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    return folder.path
}

/// A key that no other test uses.
func key(_ test: String = #function) -> String { "test/\(test.prefix { $0 != "(" })" }

/// What is thrown, as Sidelock's error.
func refusal(_ body: () async throws -> Void) async -> SidelockError? {
    do {
        try await body()
        return nil
    } catch { return error as? SidelockError }
}
