// The samples: each says itself whether it came out right.

import Foundation
import Testing

@Suite(.timeLimit(.minutes(2)))
struct SampleTests {
    @Test(arguments: ["web", "worker", "migration"])
    func aSampleComesOutRight(name: String) async throws {
        let environment = ["SIDELOCK_SOCKET": Place.shared.socket]
        let sample = Program(programs.appendingPathComponent("sample-\(name)"), environment: environment)
        let said = String(decoding: sample.rest(), as: UTF8.self)
        #expect(sample.wait() == 0 && said.contains("as it should be"), "\(said)")
    }

    /// A sample is read: it fits on a screen.
    @Test(arguments: ["Web", "Worker", "Migration"])
    func aSampleIsShort(name: String) throws {
        let package = URL(fileURLWithPath: #filePath).appendingPathComponent("../../..").standardized
        let sample = package.appendingPathComponent("Samples/\(name)/main.swift")
        #expect(try String(contentsOf: sample, encoding: .utf8).split(separator: "\n", omittingEmptySubsequences: false).count <= 61)
    }
}
