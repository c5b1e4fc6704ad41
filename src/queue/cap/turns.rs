//! Calls that are asked for while one is under way wait for it, and are then made together, as one.

use std::mem;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

/// One call at a time, of questions with an answer each.
#[derive(Debug)]
pub(super) struct Turns<Q, A> {
    turn: tokio::sync::Mutex<()>,
    waiting: Mutex<Vec<Waiting<Q, A>>>,
}

/// Who waits. There are as many as callers.
#[derive(Debug)]
struct Waiting<Q, A> {
    questions: Vec<Q>,
    tell: oneshot::Sender<Vec<A>>,
}

impl<Q, A> Default for Turns<Q, A> {
    fn default() -> Self {
        Self { turn: tokio::sync::Mutex::default(), waiting: Mutex::default() }
    }
}

impl<Q: Clone, A> Turns<Q, A> {
    /// Has `call` answer the questions, perhaps with those of others, or has another's call answer them. The answers are in
    /// the order of the questions. When a call fails, whoever made it is told, and the others that were to be answered by it
    /// make their own: a call must do no harm when it is made again.
    pub(super) async fn take<E>(
        &self,
        questions: &[Q],
        call: impl AsyncFnOnce(&[Q]) -> Result<Vec<A>, E>,
    ) -> Result<Vec<A>, E> {
        if let Ok(_turn) = self.turn.try_lock() {
            return call(questions).await;
        }
        let (tell, mut told) = oneshot::channel();
        self.wait(Waiting { questions: questions.to_vec(), tell });
        let _turn = self.turn.lock().await;
        match told.try_recv() {
            Ok(answers) => return Ok(answers),
            Err(TryRecvError::Closed) => return call(questions).await,
            Err(TryRecvError::Empty) => {}
        }
        // This one is among them.
        let mut waiting = self.waiting();
        // Nobody is to be answered who gave up.
        waiting.retain(|one| !one.tell.is_closed());
        let all: Vec<Q> = waiting.iter().flat_map(|one| &one.questions).cloned().collect();
        let mut answers = call(&all).await?.into_iter();
        for Waiting { questions, tell } in waiting {
            // Who gave up meanwhile needs no answer.
            let _gone = tell.send(answers.by_ref().take(questions.len()).collect());
        }
        Ok(told.try_recv().unwrap_or_default())
    }

    fn wait(&self, one: Waiting<Q, A>) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(one);
    }

    fn waiting(&self) -> Vec<Waiting<Q, A>> {
        mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use tokio::sync::Notify;

    /// Doubles, once it is let go.
    struct Doubler {
        turns: Turns<u32, u32>,
        go: Notify,
        calls: RefCell<Vec<Vec<u32>>>,
        fails: bool,
    }

    impl Doubler {
        fn new(fails: bool) -> Self {
            Self { turns: Turns::default(), go: Notify::new(), calls: RefCell::default(), fails }
        }

        async fn double(&self, numbers: &[u32]) -> Result<Vec<u32>, ()> {
            let call = async |numbers: &[u32]| {
                self.calls.borrow_mut().push(numbers.to_vec());
                self.go.notified().await;
                if self.fails { Err(()) } else { Ok(numbers.iter().map(|number| 2 * number).collect()) }
            };
            self.turns.take(numbers, call).await
        }
    }

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn who_waits_is_answered_together_and_in_order() {
        let doubler = Doubler::new(false);
        let mut first = pin!(doubler.double(&[1]));
        assert!(poll(first.as_mut()).is_pending());
        let mut second = pin!(doubler.double(&[2, 3]));
        let mut given_up = Box::pin(doubler.double(&[100]));
        let mut third = pin!(doubler.double(&[4]));
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(given_up.as_mut()).is_pending());
        assert!(poll(third.as_mut()).is_pending());
        drop(given_up);
        doubler.go.notify_one();
        assert_eq!(poll(first.as_mut()), Poll::Ready(Ok(vec![2])));
        assert!(poll(second.as_mut()).is_pending());
        doubler.go.notify_one();
        assert_eq!(poll(second.as_mut()), Poll::Ready(Ok(vec![4, 6])));
        assert_eq!(poll(third.as_mut()), Poll::Ready(Ok(vec![8])));
        assert_eq!(*doubler.calls.borrow(), [vec![1], vec![2, 3, 4]]);
    }

    #[test]
    fn who_was_to_be_answered_by_a_call_that_failed_makes_its_own() {
        let doubler = Doubler::new(true);
        let mut first = pin!(doubler.double(&[1]));
        assert!(poll(first.as_mut()).is_pending());
        let mut second = Box::pin(doubler.double(&[2]));
        let mut third = pin!(doubler.double(&[3]));
        let mut fourth = pin!(doubler.double(&[4]));
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(third.as_mut()).is_pending());
        assert!(poll(fourth.as_mut()).is_pending());
        doubler.go.notify_one();
        assert_eq!(poll(first.as_mut()), Poll::Ready(Err(())));
        // It asks for all three, and is given up on the way.
        assert!(poll(second.as_mut()).is_pending());
        drop(second);
        assert!(poll(third.as_mut()).is_pending());
        doubler.go.notify_one();
        assert_eq!(poll(third.as_mut()), Poll::Ready(Err(())));
        assert!(poll(fourth.as_mut()).is_pending());
        assert_eq!(*doubler.calls.borrow(), [vec![1], vec![2, 3, 4], vec![3], vec![4]]);
    }
}
