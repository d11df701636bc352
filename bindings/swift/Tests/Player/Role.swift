// An actor of a case: one order after the other, in a task of its own.

import Foundation
import Sidelock

/// What is held under a name.
enum Held {
    case lease(Lease)
    case turn(Turn)

    var lease: Lease {
        switch self {
        case .lease(let lease): lease
        case .turn(let turn): turn.lease
        }
    }
}

actor Role {
    private let stage: Stage
    private var client: Sidelock?
    private var held: [String: Held] = [:]
    private var orders: [Order] = []
    private var reader: CheckedContinuation<Void, Never>?
    private var life: Task<Void, Never>?
    private var owner: String?

    init(_ stage: Stage, client: Sidelock? = nil) {
        self.stage = stage
        self.client = client
    }

    func begin() {
        life = Task {
            guard let owner else { return await self.live() }
            await withOwner(owner) { await self.live() }
        }
    }

    func take(_ order: Order) {
        orders.append(order)
        reader?.resume()
        reader = nil
    }

    /// What it waits for is not wanted any more; what has not begun ends as it begins.
    func cancel() { life?.cancel() }

    private func live() async {
        while true {
            if orders.isEmpty { await withCheckedContinuation { reader = $0 } }
            let order = orders.removeFirst()
            do {
                try await perform(order)
            } catch let error as SidelockError {
                order.say(error: error)
            } catch {
                order.say("cancelled")
                // A task that is cancelled stays so: the actor goes on in another one.
                return begin()
            }
            if order.verb == "close" { return }
            if order.verb == "owner" {
                owner = order.text("owner")
                return begin()
            }
        }
    }

    private func perform(_ order: Order) async throws {
        switch order.verb {
        case "connect":
            client = try await stage.client(order)
            order.say("ok")
        case "close":
            held.removeAll()
            client = nil
            await stage.leave(order.actor)
            order.say("ok")
        case "owner": order.say("ok")
        case "spawn":
            // Inside the owner's body, as a task that the body starts.
            await stage.enter(order.text("child"), Role(stage, client: client))
            order.say("ok")
        case "acquire", "lock_all": keep(order, try await order.lock(of: client!).acquire(wait: order.span("wait")))
        case "try", "try_all":
            keep(order, try await order.lock(of: client!).tryAcquire(wait: order.span("wait") ?? .zero))
        case "run":
            try await order.lock(of: client!).withLease(wait: order.span("wait")) { _ in
                try await Task.sleep(for: .seconds(86_400))
            }
        case "storm": await storm(order)
        case "once", "try_once", "finish": try await turn(order)
        case "get", "put", "delete", "watch": try await register(order)
        default: try await lease(order)
        }
    }

    private func keep(_ order: Order, _ lease: Lease?) {
        guard let lease else { return order.say("none") }
        held[order.text("as")] = .lease(lease)
        order.say(lease: lease)
    }

    private func lease(_ order: Order) async throws {
        let name = order.text("lease")
        switch order.verb {
        case "release":
            switch held.removeValue(forKey: name)! {
            case .lease(let lease): try await lease.release()
            case .turn(let turn): try await turn.giveBack()
            }
        case "drop": held[name] = nil
        case "renew": try await held[name]!.lease.renew(order.span("ttl")!)
        case "upgrade":
            let lease = held[name]!.lease
            try await lease.upgrade(wait: order.span("wait"))
            held[name] = nil
            return keep(order, lease)
        case "downgrade": try await held[name]!.lease.downgrade()
        case "valid": return order.say(held[name]!.lease.isValid ? "yes" : "no")
        case "lost":
            let reason = try await held[name]!.lease.lost()
            return order.say("lost", [("reason", [reason?.rawValue ?? "released"])])
        default: fatalError("there is no verb \(order.verb)")
        }
        order.say("ok")
    }

    private func turn(_ order: Order) async throws {
        if order.verb == "finish" {
            guard case .turn(let turn) = held[order.text("lease")] else { fatalError("it is a turn") }
            try await turn.finish(Data(order.text("result").utf8))
            return order.say("ok")
        }
        let (key, per, align, options) = (order.text("key"), order.span("per")!, order.align, order.options)
        let wait = order.span("wait")
        let entered =
            order.verb == "once"
            ? try await client!.enter(key, per: per, align: align, wait: wait, options: options)
            : try await client!.tryEnter(key, per: per, align: align, wait: wait ?? .zero, options: options)
        switch entered {
        case .none: order.say("none")
        case .won(let turn):
            held[order.text("as")] = .turn(turn)
            order.say("turn", [("fence", ["\(turn.lease.fence)"])])
        case .done(let result): order.say("done", [("result", [String(decoding: result, as: UTF8.self)])])
        }
    }

    private func register(_ order: Order) async throws {
        let register = client!.register(order.text("key"))
        let fenced = order.maybe("fenced").map { held[$0]!.lease }
        switch order.verb {
        case "get": order.say(value: try await register.get(lease: fenced))
        case "put":
            let value = Data(order.text("value").utf8)
            order.say("etag", [("etag", [try await register.put(value, order.condition, lease: fenced)])])
        case "delete":
            try await register.delete(ifMatch: order.maybe("if_match"), lease: fenced)
            order.say("ok")
        default:
            let after = order.maybe("after")
            var changes = register.watch(after: after == "absent" ? nil : after).makeAsyncIterator()
            var found = try await changes.next()!
            // What a watch told first is what it goes on after.
            if after == "absent", found == nil { found = try await changes.next()! }
            order.say(value: found)
        }
    }

    private func storm(_ order: Order) async {
        let lock = order.lock(of: client!)
        let waits = (0..<order.int("times")!).map { _ in Task { try await lock.acquire() } }
        await Task.yield()
        for wait in waits { wait.cancel() }
        for wait in waits {
            guard case .failure(let error) = await wait.result, error is CancellationError else {
                fatalError("nobody else lets go of the key")
            }
        }
        order.say("ok")
    }
}
