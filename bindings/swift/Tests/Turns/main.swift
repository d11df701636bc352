// Takes turns with programs in other languages: `turns SOCKET KEY TIMES` says the fence of each of its turns.

import Foundation
import Sidelock

let (socket, key, times) = (CommandLine.arguments[1], CommandLine.arguments[2], Int(CommandLine.arguments[3])!)
let sl = try Sidelock(socket: socket, app: "swift")
for _ in 0..<times {
    try await sl.withLock(key) { lease in FileHandle.standardOutput.write(Data("\(lease.fence)\n".utf8)) }
}
