// Takes turns with programs in other languages: `turns SOCKET KEY TIMES` says the fence of each of its turns.

import Foundation
import Sidelock

let arguments = CommandLine.arguments
let (key, times) = (arguments[2], Int(arguments[3]) ?? 0)
let sl = try Sidelock(socket: arguments[1], app: "swift")
for _ in 0..<times {
    try await sl.withLock(key) { lease in
        // Not `print`, which keeps what it is told for later.
        FileHandle.standardOutput.write(Data("swift \(lease.fence)\n".utf8))
    }
}
