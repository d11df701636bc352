// A web handler: an order is paid once, however many requests for it come at a time, at however many servers.
//
//     SIDELOCK_SOCKET=… swift run sample-web
//
// What is protected refuses a lower fence than it has seen, so that a server that slept through its lease can do no harm.

import Foundation
import Sidelock

/// The database: it has never heard of locks, and keeps the highest fence.
actor Database {
    private var highest: UInt64 = 0
    private(set) var payments = 0
    private var isPaid = false

    func isPaid(_ order: String) -> Bool { isPaid }

    func pay(_ order: String, fence: UInt64) throws {
        guard fence >= highest else { throw CancellationError() }
        highest = fence
        payments += 1
        isPaid = true
    }
}

let sl = try Sidelock(app: "shop")
let database = Database()

@Sendable func handle(_ method: String, _ path: String) async -> Answer {
    guard method == "POST", path.hasSuffix("/payment") else { return Answer(status: 404, body: "") }
    do {
        return try await sl.withLock(path, wait: .seconds(5)) { lease in
            // Without the lock two requests would come here at a time, and both would pay.
            if await database.isPaid(path) { return Answer(status: 200, body: "it was paid before") }
            try await Task.sleep(for: .milliseconds(20))
            try await database.pay(path, fence: lease.fence)
            return Answer(status: 201, body: "paid")
        }
    } catch let error as SidelockError {
        // 503: nothing was done. `message` says what to do about it, to whoever reads the log.
        print(error.message)
        return Answer(status: 503, body: error.code)
    } catch {
        return Answer(status: 500, body: "")
    }
}

let port = serve(handle)
let path = "/orders/\(UUID())/payment"
let answers = await withTaskGroup(of: Answer.self, returning: [Int].self) { group in
    for _ in 0..<20 { group.addTask { await request("POST", path, port: port) } }
    var statuses: [Int] = []
    for await answer in group { statuses.append(answer.status) }
    return statuses
}
let payments = await database.payments
precondition(payments == 1 && answers.filter { $0 == 201 }.count == 1 && answers.filter { $0 == 200 }.count == 19)
print("20 requests, 1 payment: as it should be")
